-- examples/openresty for specs: nginx started by its run script, asked by HTTP, stopped.

local cjson = require("cjson")
local ltn12 = require("ltn12")
local http = require("socket.http")
local socket = require("socket")
local harness = require("spec.support.harness")

local AWAIT_SECONDS = 20
local JSON = { ["Content-Type"] = "application/json" }

local openresty = { script = harness.root .. "/examples/openresty/run" }

-- One storage, one backend; nothing is tried twice.
local SETTINGS = [[
  return { storages = { images = os.getenv("REVEC_STORAGE") }, backends = { main = os.getenv("REVEC_API_URL") },
           dir = os.getenv("REVEC_DIR"), options = { max_retries = 0, down_timeout = 0 } }
]]

local running = {}

-- Waits until f gives something true, and gives that.
function openresty.await(what, f)
  local deadline = socket.gettime() + AWAIT_SECONDS
  repeat
    local found = f()
    if found then return found end
    socket.sleep(0.02)
  until socket.gettime() > deadline
  error("in vain: " .. what, 2)
end

local App = {}
App.__index = App

-- What somebody else has started.
function openresty.at(url)
  return setmetatable({ url = url }, App)
end

-- Options: storage, api_url, workers (1), settings (Lua text of a settings file). Gives what has run, dir, url and master.
function openresty.start(options)
  local self = setmetatable({ dir = harness.tempdir() }, App)
  harness.write(self.dir .. "/settings.lua", options.settings or SETTINGS)
  self.run = harness.spawn {
    command = { openresty.script, "--settings", self.dir .. "/settings.lua", "--state", self.dir, "--port", tostring(harness.free_port()),
                "--workers", tostring(options.workers or 1), "--storage", options.storage, "--api-url", options.api_url },
  }
  running[self] = true
  self.url = self.run:wait_for("(http://[%d.:]+)\n")
  self.master = tonumber(harness.read(self.dir .. "/nginx.pid"))
  return self
end

-- status, headers, body.
function App:ask(method, path, body, headers)
  local pieces, all = {}, {}
  for name, value in pairs(headers or (body and JSON) or {}) do all[name] = value end
  if body then all["Content-Length"] = #body end
  local _, status, answered = http.request {
    method = method, url = self.url .. path, headers = all, source = body and ltn12.source.string(body), sink = ltn12.sink.table(pieces),
  }
  return status, answered, table.concat(pieces)
end

-- Status and decoded answer of POST /rebuild.
function App:start(options)
  local status, _, body = self:ask("POST", "/rebuild", cjson.encode(options or {}))
  return status, cjson.decode(body)
end

-- Where the rebuild stands; nil before the first.
function App:rebuild()
  local _, _, body = self:ask("GET", "/rebuild")
  local rebuild = cjson.decode(body).rebuild
  if rebuild == cjson.null then return nil end
  rebuild.worker = math.floor(rebuild.worker) -- cjson gives a float, which 5.4 would write as one
  return rebuild
end

function App:await_end()
  return openresty.await("the end of the run", function()
    local rebuild = self:rebuild()
    return rebuild and not rebuild.running and rebuild
  end)
end

function App:await_done(n)
  return openresty.await(n .. " images done", function()
    local rebuild = self:rebuild()
    return rebuild and rebuild.done >= n and rebuild
  end)
end

function App:log() return harness.read(self.dir .. "/error.log") end

function App:stop()
  running[self] = nil
  self.run:signal("TERM")
  self.run:wait(10)
end

-- Before harness.cleanup, which would kill the script and leave nginx.
function openresty.stop_all()
  for app in pairs(running) do app:stop() end
end

return openresty
