-- Memory, descriptors and threads that are not to be had, at every call for them that a small run makes: a clean error
-- each time, and nothing kept. REVEC_FAILING=1: every call, for what makes thousands of them too (make sanitize).

require "spec.support.paths"
local harness = require "spec.support.harness"
local server = require "spec.support.server"

local RUN_SECONDS = 1200

describe("a run that is short of", function()
  local s, folder, images

  setup(function()
    s = server.start [[
      local text = '{"status":"success","message":"' .. ("long "):rep(100) .. '","count":[1,2,3],"vector":[0.1,0.2]}'
      return function(request, reply)
        local path = request.path
        state[request.target] = (state[request.target] or 0) + 1
        local nth = state[request.target]
        if path == "/missing" or path == "/not_landed" and request.method == "GET" then return reply.not_indexed() end
        if path == "/refused" then return reply.send(422, {}, ("because "):rep(50)) end
        if path == "/later" and nth == 1 then return reply.send(500, {}, "broken") end
        if path == "/throttled" and nth == 1 then return reply.send(500, {}, "Throttling: later") end
        if (path == "/landed" or path == "/not_landed") and nth == 1 then
          reply.raw("HTTP/1.1 200 OK\r\nContent-Le")
          return reply.reset()
        end
        if path:find("^/gone") and nth <= 2 then return reply.reset() end
        reply.json(200, text)
      end
    ]]
    local names = {}
    for i = 1, 30 do names[i] = ("%d/%d/image %d.jpg"):format(i % 2, i % 3, i) end
    folder, images = harness.tree(names), #names
  end)

  teardown(function()
    server.stop_all()
    harness.cleanup()
  end)

  local function shortage(what, every)
    local step = os.getenv("REVEC_FAILING") and 1 or every
    local result = harness.run { script = harness.root .. "/spec/support/failing_run.lua", timeout = RUN_SECONDS,
      args = { s.url, folder, tostring(images), what, tostring(step) } }
    assert.equal(0, result.code, result.output)
    assert.matches("^%d+ runs\n$", result.output)
  end

  it("memory ends cleanly and keeps nothing", function() shortage("memory", 3) end)
  it("descriptors likewise", function() shortage("files", 1) end)
  it("threads likewise", function() shortage("threads", 1) end)
  it("libcurl's memory likewise", function() shortage("libcurl", 41) end)
  it("Lua's memory likewise", function() shortage("lua", 41) end)
end)
