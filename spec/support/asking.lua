-- Runs what adapters do without the pipeline: an engine with the adapter's routes, and a function that asks it.

local core = require("revec.core")

local HANG_SECONDS = 30

local asking = {}

-- Runs f(ask) to its end and returns what it returns; an error in it is raised. `options` are the engine's, beside
-- the adapter's own. An adapter without routes (an index that is no service) gets no engine, and ask is nil.
function asking.run(adapter, f, options)
  if not adapter.routes then return f() end
  local all = { probe_url = adapter.probe_url, headers = adapter.headers, retry_delay = 0.01, max_retries = 1, timeout = 20 }
  for name, value in pairs(options or {}) do all[name] = value end
  local engine = assert(core.engine(all))
  local function answer()
    local deadline = core.now() + HANG_SECONDS
    while core.now() < deadline do
      engine:wait(1)
      for _, event in ipairs(engine:poll()) do
        if not event.retry_in then return event end
      end
    end
    error("no answer after " .. HANG_SECONDS .. " s", 0)
  end
  local routes = {}
  for name, route in pairs(adapter.routes) do routes[name] = engine:route(route) end
  local function ask(name, url, body)
    engine:submit(assert(routes[name], "no such route: " .. tostring(name)), url, name, false, nil, nil, body)
    return answer()
  end
  local results = { pcall(f, ask) }
  engine:close()
  if not results[1] then error(results[2], 0) end
  return (table.unpack or unpack)(results, 2, 4) -- luacheck: ignore
end

return asking
