-- What the server saw and what the report says, whatever happens to connections.
-- REVEC_REQUESTS: how many images (make soak: 100,000).
require "spec.support.paths"
local harness = require "spec.support.harness"
local revec = require "revec"
local server = require "spec.support.server"

local images = tonumber(os.getenv("REVEC_REQUESTS") or 1000)

local function fate_of(request) return (request.n * 7919 + request.connection) % 13 end
-- Each request is read whole, then answered in full or broken off, at every byte of it but the last few.
local faults = [[
  local fate = (request.n * 7919 + request.connection) % 13
  if fate == 0 then return reply.close() end
  if fate == 1 then return reply.reset() end
  if fate == 2 then return reply.cut((request.n * 31) % 150, "rst") end
  if fate == 3 then return reply.cut((request.n * 17) % 150, "fin") end
  reply.embedding(request.id)
]]

describe("wire sends", function()
  after_each(harness.cleanup)

  local function rebuild(handler, options)
    local storage = harness.tree {}
    for i = 1, images do harness.write(string.format("%s/%03d/%06d.jpg", storage, math.floor(i / 1000), i), "") end
    options.dim = 3
    local s = server.start("return function(request, reply)\n" .. handler .. "\nend", options)
    local report = assert(revec.rebuild {
      storage_path = storage, api_url = s.url, failed_dir = harness.tempdir(), max_concurrent = 16, retry_delay = 0.001,
      max_retries = 100, no_skip_indexed = true,
    })
    local seen = s:count("")
    -- Connections that were closed behind a whole answer, when another request may have been on its way there.
    local last, closed = {}, 0
    for _, request in ipairs(s:requests()) do last[request.connection] = request end
    for _, request in pairs(last) do closed = closed + (fate_of(request) >= 4 and 1 or 0) end
    s:stop()
    assert.same({ "done", images, 0 }, { report.reason, report.succeeded, report.failed })
    return report.sends, seen, closed
  end

  it("are counted alike by client and server, to the last request", function()
    local sends, seen = rebuild(faults, { requests_per_connection = 40 })
    assert.equal(seen, sends)
    assert.is_true(sends > images * 1.2)
  end)

  it("are never fewer than the server saw when it closes connections under requests on their way, and no more than those besides", function()
    local sends, seen, closed = rebuild(faults .. "if fate == 4 then reply.close() elseif fate == 5 then reply.reset() end", { idle_close = 0.05 })
    assert.is_true(sends >= seen and sends <= seen + closed, sends .. " sent, " .. seen .. " seen, " .. closed .. " closed")
  end)
end)
