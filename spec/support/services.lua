-- Programs for the specs of indexes, from npm (spec/services): real vector databases, each started once for a spec file. They are
-- half a gigabyte: `make test-services` installs them, and whoever has not got them has those specs pending.

local http = require("socket.http")
local socket = require("socket")
local lfs = require("lfs")
local paths = require("spec.support.paths")
local process = require("spec.support.process")
local harness = require("spec.support.harness")

local START_SECONDS = 60
local POLL_SECONDS = 0.02

local installed = paths.root .. "build/services/"

local services = {}

-- The path of one of them; or nil and what to do.
function services.find(name)
  if lfs.attributes(installed .. "installed") then return installed .. "node_modules/.bin/" .. name end
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

-- Starts a program of spec/services, with a copy of a folder from there, and waits until ready(service) is something; that is its port.
local function start(name, arguments, ready, folder)
  local bin = assert(services.find(name))
  local service = setmetatable({ folder = process.tempdir() }, Service)
  if folder then
    harness.shell("cp -R " .. process.quote(installed .. folder) .. " " .. process.quote(service.folder))
  end
  -- It ends when this process does, however it ends.
  local command = { "setpriv", "--pdeathsig", "KILL", "node", "--import", installed .. "events.mjs", bin }
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

-- PostgreSQL with pgvector. All connections share one session: prepared statements and settings are seen by all, and what one
-- begins the others wait for.
function services.postgresql()
  local service = start("pglite-server",
    { "-p", "0", "-m", "100", "-d", "postgresql", "-e", "@electric-sql/pglite-pgvector:vector" },
    function(service) return tonumber(service.log():match('listening on.*"port":(%d+)')) end, "postgresql")
  service.url = "postgresql://postgres:secret@127.0.0.1:" .. service.port .. "/postgres?sslmode=disable"
  return service
end

return services
