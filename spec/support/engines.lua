-- Engines for specs: opened with short waits, run until they have answered, all closed at the end.

local core = require("revec.core")

local HANG_SECONDS = 30

local engines = {}
local open = {}

-- An engine on a server (or anything with a url); options override.
function engines.new(server, options)
  local all = { probe_url = server.url .. "/health", retry_delay = 0.01, timeout = 20 }
  for name, value in pairs(options or {}) do all[name] = value end
  local engine = assert(core.engine(all))
  open[#open + 1] = engine
  return engine
end

-- Polls until `n` requests are done. Returns the last event of each in their order, and all notices of retries.
function engines.collect(engine, n)
  local done, retries = {}, {}
  local deadline = core.now() + HANG_SECONDS
  while #done < n do
    for _, event in ipairs(engine:poll()) do
      local list = event.retry_in and retries or done
      list[#list + 1] = event
    end
    if core.now() > deadline then error(("%d of %d answers after %d s"):format(#done, n, HANG_SECONDS), 2) end
    if #done < n then engine:wait(1) end
  end
  return done, retries
end

-- One request: its event, and the notices of its retries.
function engines.ask(engine, route, url, item)
  engine:submit(route, url, item or "item")
  local done, retries = engines.collect(engine, 1)
  return done[1], retries
end

-- Waits until condition() is true.
function engines.await(engine, condition)
  local deadline = core.now() + HANG_SECONDS
  while not condition() do
    if core.now() > deadline then error("what was awaited does not happen", 2) end
    engine:wait(0.01)
  end
end

function engines.close_all()
  for _, engine in ipairs(open) do engine:close() end
  open = {}
  collectgarbage()
  collectgarbage()
end

return engines
