-- Programs for the specs of indexes, from npm (spec/services): real vector databases, each started once for a spec file. They are
-- half a gigabyte: `make test-services` installs them, and whoever has not got them has those specs pending.

local http = require("socket.http")
local socket = require("socket")
local lfs = require("lfs")
local paths = require("spec.support.paths")
local process = require("spec.support.process")
local harness = require("spec.support.harness")

-- PostgreSQL makes its database first, which takes seconds of a processor that other specs use as well.
local START_SECONDS = 120
local POLL_SECONDS = 0.02

-- Node.js 18 has none.
local CUSTOM_EVENT = [[data:text/javascript,globalThis.CustomEvent ??= class extends Event {
  constructor(type, init) { super(type, init); this.detail = init.detail; } };]]

local services = {}

-- The path of one of them; or nil and what to do.
function services.find(name)
  local bin = paths.root .. "build/services/node_modules/.bin/" .. name
  if lfs.attributes(bin) then return bin end
  return nil, "needs " .. name .. " from npm: make test-services"
end

local Service = {}
Service.__index = Service

-- Ends it and removes what it kept.
function Service:stop()
  if not self.folder then return end
  self.child:kill()
  process.remove(self.folder)
  self.folder = nil
end

-- Starts a program of spec/services and waits until ready(service) is something; that is its port.
local function start(name, arguments, ready)
  local bin = assert(services.find(name))
  local service = setmetatable({ folder = process.tempdir() }, Service)
  -- It ends when this process does, however it ends.
  local command = { "setpriv", "--pdeathsig", "KILL", "node", "--import", CUSTOM_EVENT, bin }
  for _, word in ipairs(arguments) do command[#command + 1] = word end
  local log = service.folder .. "/log"
  service.child = process.spawn { command = command, cwd = service.folder, stdout = log, stderr = log }
  service.log = function() return process.read(log) end
  local deadline = socket.gettime() + START_SECONDS
  while true do
    service.port = ready(service)
    if service.port then return service end
    if service.child:ended() or socket.gettime() > deadline then
      local said = service.log()
      service:stop()
      error(name .. " does not start: " .. said, 2)
    end
    socket.sleep(POLL_SECONDS)
  end
end

-- Chroma; its url is without a path.
function services.chroma()
  local port = harness.free_port()
  local url = "http://127.0.0.1:" .. port
  local service = start("chroma", { "run", "--path", "data", "--port", port, "--host", "127.0.0.1" }, function()
    return http.request(url .. "/api/v2/heartbeat") and port
  end)
  service.url = url
  return service
end

-- PostgreSQL with pgvector, kept in memory. All connections share one session: prepared statements and settings are
-- seen by all, and what one begins the others wait for.
function services.postgresql()
  local service = start("pglite-server", { "-p", "0", "-m", "100", "-e", "@electric-sql/pglite-pgvector:vector" }, function(service)
    return tonumber(service.log():match('listening on.*"port":(%d+)'))
  end)
  service.url = "postgresql://postgres:secret@127.0.0.1:" .. service.port .. "/postgres?sslmode=disable"
  return service
end

return services
