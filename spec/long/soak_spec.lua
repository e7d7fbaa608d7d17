-- Runs one after the other in one process against a server that does everything wrong in turn: every image's outcome is
-- right, and memory, descriptors and threads stay as they were. SOAK_MINUTES: how long (make soak: 30); without it two small
-- runs.
require "spec.support.paths"
local cjson = require "cjson"
local census = require "spec.support.census"
local core = require "revec.core"
local harness = require "spec.support.harness"
local revec = require "revec"
local server = require "spec.support.server"

local minutes = tonumber(os.getenv("SOAK_MINUTES"))
local IMAGES = minutes and 300 or 60
local MOST_GROWTH_KB = 8 * 1024

-- What becomes of an image is in its id: bad ones fail always, all others succeed once their fault is over. Faults are
-- dealt by the number of the request, so that each comes to look-ups and embeds, again and again.
local handler = [[
  return function(request, reply)
    local fate = (request.n * 7919 + request.connection * 31) % 41
    if request.method == "DELETE" then
      state.indexed = {}
      return reply.json(200, "{}")
    end
    if request.path == "/health" then return reply.correctly() end
    if fate == 0 then return reply.close() end
    if fate == 1 then return reply.reset() end
    if fate == 2 then return reply.cut(request.n % 150, request.n % 2 == 0 and "rst" or "fin") end
    if fate == 3 then return reply.json(500, '{"detail":"broken"}') end
    if fate == 4 then return reply.json(503, '{"detail":"later"}') end
    if fate == 5 then return reply.json(500, '{"detail":"Throttling: slower"}') end
    if fate == 6 then return reply.json(429, '{"detail":"slower"}', { ["Retry-After"] = "0" }) end
    if fate == 7 then return reply.drip("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]", 0.001) end
    if fate == 8 then return reply.raw("no HTTP at all\r\n\r\n"), reply.close() end
    if fate == 9 then
      reply.raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" .. '{"status":"succ')
      return reply.close()
    end
    if request.n % 5003 == 0 then return reply.down(0.3) end
    if request.method == "POST" and request.id:find("bad") then return reply.json(422, '{"detail":"cannot be read"}') end
    if fate == 10 then reply.sleep(0.5) end
    reply.correctly()
  end
]]

local function memory_kb()
  collectgarbage()
  collectgarbage()
  return tonumber(harness.read("/proc/self/status"):match("VmRSS:%s*(%d+)"))
end

describe("runs under mixed faults", function()
  teardown(function()
    server.stop_all()
    harness.cleanup()
  end)

  it("end right, one like the other, and keep nothing", function()
    local names = {}
    for i = 1, IMAGES do names[i] = ("%d/%s%d.jpg"):format(i % 7, i % 50 == 0 and "bad" or "image", i) end
    local storage, dir = harness.tree(names), harness.tempdir()
    local bad = math.floor(IMAGES / 50)
    local until_ = core.now() + 60 * (minutes or 0)
    local s, held, warm, most, requests = nil, nil, nil, 0, 0
    local runs = 0
    repeat
      -- A server of some runs: its log is not to fill the disk, and it dies and comes back between.
      if runs % 20 == 0 then
        if s then s:stop() end
        s = server.start(handler, { dim = 8, requests_per_connection = 50 })
      end
      local seen, failed = 0, {}
      local report = assert(revec.rebuild {
        storage_path = storage, api_url = s.url, failed_dir = dir, max_concurrent = 8, max_retries = 50, retry_delay = 0.002,
        timeout = 0.4, down_timeout = 30, verify = runs % 3 == 0, no_skip_indexed = runs % 5 == 4, check = "each",
        on_success = function() seen = seen + 1 end,
        on_failure = function(image, failure) failed[#failed + 1] = image.id .. " " .. failure.kind end,
      })
      requests = requests + report.sends
      runs = runs + 1
      local told = ("run %d: %s"):format(runs, cjson.encode(report))
      assert.equal("done", report.reason, told)
      assert.equal(IMAGES, report.succeeded + report.skipped + report.failed, told)
      assert.equal(seen, report.succeeded, told)
      assert.equal(report.failed, #failed, told)
      -- What is no answer at all is not tried again, so any image may fail of that; the bad ones fail always.
      local failed_bad = 0
      for _, one in ipairs(failed) do
        if one:find("^bad") then failed_bad = failed_bad + 1 end
        if not one:find("^bad%d+ rejected$") then assert.matches(" bad_answer$", one) end
      end
      assert.equal(bad, failed_bad, told)
      assert.equal(report.failed, #cjson.decode(harness.read(report.record)), told)
      os.remove(report.record)
      assert.same({}, harness.list(dir))
      if runs % 20 == 10 then
        local now = memory_kb()
        if not warm then
          warm, held = now, census.take()
        end
        most = math.max(most, now - warm)
        assert.same(held, census.take(held))
        assert.is_true(most <= MOST_GROWTH_KB, ("%d KB more after %d runs"):format(most, runs))
      end
    until core.now() > until_ and runs > (minutes and 30 or 1)
    s:stop()
    if minutes then print(("%d runs, %d requests sent; memory grew by %d KB at most"):format(runs, requests, most)) end
  end)
end)
