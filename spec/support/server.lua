-- A server that misbehaves on request, in a process of its own so that a spec can run the real command against it:
--
--   local s = server.start [[
--     return function(request, reply)
--       if request.n <= 3 then return reply.json(503, '{"detail":"later"}') end
--       reply.correctly()
--     end
--   ]]
--   … s.url, s:requests(), s:count("^POST ") …
--   s:stop()
--
-- request: n, connection, request_on_connection, time, in_flight (this one included), seen (how often this method has
--   come for this id, this time included), method, target, path, query, query_all, id, headers, body.
-- reply: see make_reply in misbehave.lua. `state` is a table shared by all calls.
-- A second function returned by the source is called as f(connection_number, reply) for every accepted connection,
--   before anything is read from it and before TLS.
--
-- Options of start(source, options):
--   dim                      length of the vectors (2560)
--   idle_close               seconds after which an idle kept connection is closed, without a word
--   requests_per_connection  the last answer says `Connection: close`
--   early_answer             run the handler before the request's body is read; reply.body() reads it
--   tls                      { cert = path, key = path, close_notify = false to leave out the farewell, client_ca = path of what
--                            signs the certificates that clients have to show, protocol = "tlsv1_2" }
--   unix                     path of a socket to listen on instead of a TCP port
--   port                     (default: a free one)
--   address                  ("127.0.0.1"), which its url does not show
--   inside                   a namespace (spec/support/namespace.lua) to run in
--   accept = false, backlog  connections wait in the kernel's queue, and beyond `backlog` get no answer to their SYN

local socket = require("socket")
local process = require("spec.support.process")
local request_log = require("spec.support.request_log")

local START_SECONDS = 10
local POLL_SECONDS = 0.005

local known_options = {
  dim = true, idle_close = true, requests_per_connection = true, early_answer = true, tls = true, unix = true,
  port = true, address = true, accept = true, backlog = true, inside = true,
}

local server = {}
local running = {}

local Server = {}
Server.__index = Server

local function as_lua(value)
  if type(value) == "table" then
    local fields = {}
    for name, field in pairs(value) do fields[#fields + 1] = ("[%q]=%s"):format(name, as_lua(field)) end
    return "{" .. table.concat(fields, ",") .. "}"
  end
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

local function launch(self)
  process.write(self.dir .. "/options.lua", "return " .. as_lua(self.options) .. "\n")
  os.remove(self.dir .. "/port")
  local command = self.inside and self.inside:words() or {}
  for _, word in ipairs(process.interpreter()) do command[#command + 1] = word end
  command[#command + 1] = process.root .. "/spec/support/misbehave.lua"
  command[#command + 1] = self.dir
  self.child = process.spawn { command = command, stdin = "lifeline", stderr = self.dir .. "/stderr",
    env = { LD_PRELOAD = false } }
  local deadline = socket.gettime() + START_SECONDS
  local port
  repeat
    socket.sleep(POLL_SECONDS)
    port = process.read(self.dir .. "/port")
  until port or self.child:ended() or socket.gettime() > deadline
  if not port then
    self.child:kill()
    local why = process.read(self.dir .. "/stderr")
    process.remove(self.dir)
    running[self] = nil
    error("the misbehaving server did not start: " .. (why ~= "" and why or "no port within the time allowed"), 3)
  end
  self.port = tonumber(port)
end

function server.start(source, options)
  local self = setmetatable({ options = {} }, Server)
  for name, value in pairs(options or {}) do
    assert(known_options[name], "server.start: unknown option " .. tostring(name))
    self.options[name] = value
  end
  self.inside, self.options.inside = self.options.inside, nil
  self.dir = process.tempdir()
  running[self] = true
  process.write(self.dir .. "/handler.lua", source)
  process.write(self.dir .. "/log", "")
  launch(self)
  self.url = self.options.unix and "http://localhost"
    or (self.options.tls and "https" or "http") .. "://127.0.0.1:" .. self.port
  return self
end

local function log_text(self)
  return assert(process.read(self.dir .. "/log"))
end

-- Everything received so far, in order.
function Server:requests()
  return (request_log.parse(log_text(self)))
end

-- The number of requests whose "METHOD target" matches the Lua pattern; of all without one.
function Server:count(pattern)
  return request_log.count(log_text(self), pattern or "")
end

-- The number of connections accepted so far, those without a request included.
function Server:connections()
  return select(2, request_log.parse(log_text(self)))
end

-- SIGKILL, as a backend dies. Its `state` is lost, the log is not. Clients are refused until revive().
function Server:kill()
  self.child:kill()
  if not self.options.unix then
    -- A bound port that does not listen refuses, and cannot be taken by anyone else.
    self.placeholder = assert(socket.tcp4())
    assert(self.placeholder:setoption("reuseaddr", true))
    assert(self.placeholder:bind("127.0.0.1", self.port))
  end
end

-- Starts it again on the same port, with the same handler and the same log.
function Server:revive()
  if self.placeholder then
    self.placeholder:close()
    self.placeholder = nil
    self.options.port = self.port
  end
  launch(self)
end

-- Ends the process and removes its files. Raises what the handler raised, or what ended the process before its time.
function Server:stop()
  if not running[self] then return end
  running[self] = nil
  local died = self.child:ended() and self.child.killed_by ~= "KILL"
  self.child:kill()
  if self.placeholder then self.placeholder:close() end
  local errors = process.read(self.dir .. "/errors")
  local stderr = process.read(self.dir .. "/stderr")
  process.remove(self.dir)
  if self.options.unix then os.remove(self.options.unix) end
  if errors then error("the server's handler failed: " .. errors, 2) end
  if died then error("the misbehaving server ended by itself: " .. tostring(stderr), 2) end
end

-- For after_each: stops whatever a failed spec left running, and raises the first of their errors.
function server.stop_all()
  local left, failure = {}, nil
  for each in pairs(running) do left[#left + 1] = each end
  for _, each in ipairs(left) do
    local ok, why = pcall(each.stop, each)
    failure = failure or (not ok and why) or nil
  end
  if failure then error(failure, 0) end
end

return server
