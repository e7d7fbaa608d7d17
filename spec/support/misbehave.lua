-- The process behind spec/support/server.lua: an HTTP/1.1 server that does to its clients whatever the handler
-- that it was given asks for. Started as: lua misbehave.lua DIR, where DIR holds handler.lua and options.lua, and
-- receives the log, the port, and the errors of the handler.
--
-- One coroutine per connection over non-blocking sockets; a coroutine that has to wait registers what for and yields
-- to the loop at the end of this file.

local root = arg[0]:match("^(.*)spec/support/[^/]*$")
package.path = root .. "?.lua;" .. package.path

local socket = require("socket")
local answers = require("spec.support.backend_answers")
local request_log = require("spec.support.request_log")

local dir = arg[1]
local options = dofile(dir .. "/options.lua")
local load_text = loadstring or load -- luacheck: ignore

-- select() cannot watch descriptors from 1024 up; further clients wait in the kernel's queue.
local MAX_CONNECTIONS = 1000
local DEFAULT_BACKLOG = 1024
local READ_BYTES = 16384

-- Shared by all handler calls of this process, to which it is a global.
local state = {}
_G.state = state

local handler, greet = assert(load_text(assert(io.open(dir .. "/handler.lua")):read("*a"), "=handler"))()
assert(type(handler) == "function", "the server's source must return a function")

---------------------------------------------------------------------------------------------------------------------
-- Log and errors. Unbuffered, so that everything is in the file before the first byte of an answer leaves,
-- and stays there when this process is killed.

local log = assert(io.open(dir .. "/log", "ab"))
log:setvbuf("no")

local requests, connections_seen = 0
local times_seen = {}

local function see(request)
  local key = request.method .. " " .. (request.id or request.path)
  times_seen[key] = (times_seen[key] or 0) + 1
  return times_seen[key]
end

-- After a kill the numbering goes on where the log ends.
do
  local earlier
  earlier, connections_seen = request_log.parse(assert(io.open(dir .. "/log", "rb")):read("*a"))
  for n, request in ipairs(earlier) do
    requests = n
    see(request)
  end
end

local function report(text)
  local file = assert(io.open(dir .. "/errors", "ab"))
  file:write(text, "\n")
  file:close()
end

---------------------------------------------------------------------------------------------------------------------
-- Waiting

local now = socket.gettime

-- A set of sockets in the form that select() takes, with the connection behind each.
local function socket_set()
  local set = { list = {}, place = {}, owner = {} }
  function set.add(sock, connection)
    set.list[#set.list + 1] = sock
    set.place[sock] = #set.list
    set.owner[sock] = connection
  end
  function set.remove(sock)
    local place = set.place[sock]
    if not place then return end
    local last = table.remove(set.list)
    if last ~= sock then
      set.list[place] = last
      set.place[last] = place
    end
    set.place[sock], set.owner[sock] = nil, nil
  end
  return set
end

local readers, writers = socket_set(), socket_set()
local deadlines = {}     -- connection → time at which to wake it
local connections = {}   -- open ones → true
local open_count = 0
local in_flight = 0

-- What a failed call on a socket waits for, by its error; any other error means that the connection is gone.
local waits = { timeout = readers, wantread = readers, wantwrite = writers }
local send_waits = { timeout = writers, wantread = readers, wantwrite = writers }

-- Yields until the connection's socket is ready for `set` (true) or the time is over (false); either may be nil.
local function pause(connection, set, seconds)
  if set then set.add(connection.socket, connection) end
  if seconds then deadlines[connection] = now() + seconds end
  return coroutine.yield()
end

local function stop_waiting(connection)
  readers.remove(connection.socket)
  writers.remove(connection.socket)
  deadlines[connection] = nil
end

---------------------------------------------------------------------------------------------------------------------
-- Connections

-- A TLS object has no socket options and no plain shutdown; its socket's own object takes the descriptor for a moment.
local function on_plain_socket(connection, action)
  local plain = connection.plain
  if plain == connection.socket then return action(plain) end
  plain:setfd(connection.socket:getfd())
  action(plain)
  plain:setfd(-1)
end

local function close(connection, how)
  if connection.closed then return end
  connection.closed = true
  stop_waiting(connection)
  connections[connection] = nil
  open_count = open_count - 1
  if how == "rst" then
    on_plain_socket(connection, function(plain) plain:setoption("linger", { on = true, timeout = 0 }) end)
  else
    -- The kernel turns a close with unread bytes into a reset.
    while not connection.gone do
      local data, _, partial = connection.socket:receive(READ_BYTES)
      if not data and partial == "" then break end
    end
    if options.tls and options.tls.close_notify == false then
      on_plain_socket(connection, function(plain) plain:shutdown("both") end)
    end
  end
  connection.socket:close()
end

-- A connection is `gone` after an error that is no waiting: it is not read again, for a TLS object may then spin.

-- The next bytes from the client; nil when it has left or (with `seconds`) nothing came in time.
local function receive(connection, seconds)
  while not connection.closed do
    local data, why, partial = connection.socket:receive(READ_BYTES)
    data = data or partial
    if data and data ~= "" then return data end
    local set = waits[why]
    if not set then
      connection.gone = true
      return nil
    end
    if not pause(connection, set, seconds) then return nil end
  end
end

-- false when the client has left.
local function send(connection, data)
  local at = 1
  while at <= #data do
    if connection.closed then return false end
    local last, why, partial = connection.socket:send(data, at)
    if last then return true end
    at = (partial or at - 1) + 1
    local set = send_waits[why]
    if not set then
      connection.gone = true
      close(connection, "fin")
      return false
    end
    pause(connection, set)
  end
  return not connection.closed
end

-- A header block with its final empty line; nil when none comes any more.
local function read_head(connection)
  while true do
    local _, stop = connection.buffer:find("\r\n\r\n", 1, true)
    if stop then
      local head = connection.buffer:sub(1, stop)
      connection.buffer = connection.buffer:sub(stop + 1)
      return head
    end
    local kept_idle = connection.buffer == "" and connection.requests > 0
    local data = receive(connection, kept_idle and options.idle_close or nil)
    if not data then return nil end
    connection.buffer = connection.buffer .. data
  end
end

-- Exactly `bytes` bytes, or all that came before the client left and false.
local function read_exactly(connection, bytes)
  local pieces, have = { connection.buffer }, #connection.buffer
  while have < bytes do
    local data = receive(connection)
    if not data then
      connection.buffer = ""
      return table.concat(pieces), false
    end
    pieces[#pieces + 1] = data
    have = have + #data
  end
  local all = table.concat(pieces)
  connection.buffer = all:sub(bytes + 1)
  return all:sub(1, bytes), true
end

local function read_line(connection)
  while not connection.buffer:find("\n", 1, true) do
    local data = receive(connection)
    if not data then return nil end
    connection.buffer = connection.buffer .. data
  end
  local line, rest = connection.buffer:match("^([^\n]*)\n(.*)$")
  connection.buffer = rest
  return (line:gsub("\r$", ""))
end

local function read_chunked(connection)
  local pieces = {}
  while true do
    local size = tonumber((read_line(connection) or ""):match("^%x+") or "", 16)
    if not size then return table.concat(pieces), false end
    if size == 0 then
      repeat local line = read_line(connection) until not line or line == ""
      return table.concat(pieces), true
    end
    local piece, whole = read_exactly(connection, size)
    pieces[#pieces + 1] = piece
    if not whole then return table.concat(pieces), false end
    read_line(connection)
  end
end

-- The body of the connection's current request; nil when it broke off.
local function read_body(connection)
  local request = connection.request
  if request.body then return request.body end
  local headers = request.headers
  local chunked = (headers["transfer-encoding"] or ""):lower():find("chunked", 1, true)
  local length = tonumber(headers["content-length"])
  if not chunked and not length then
    request.body = ""
    return ""
  end
  if (headers.expect or ""):lower() == "100-continue" then send(connection, "HTTP/1.1 100 Continue\r\n\r\n") end
  local body, whole
  if chunked then body, whole = read_chunked(connection) else body, whole = read_exactly(connection, length) end
  log:write(request_log.body_line(request.n, #body))
  if not whole then return nil end
  request.body = body
  return body
end

---------------------------------------------------------------------------------------------------------------------
-- The listening socket

local listener
local accepting = false
local reopen_at -- time at which a closed listener comes back

local function bind(port)
  if options.unix then
    os.remove(options.unix)
    listener = require("socket.unix")()
    assert(listener:bind(options.unix))
  else
    listener = assert(socket.tcp4())
    assert(listener:setoption("reuseaddr", true))
    assert(listener:bind(options.address or "127.0.0.1", port))
  end
  listener:settimeout(0)
end

local function listen()
  assert(listener:listen(options.backlog or DEFAULT_BACKLOG))
  accepting = options.accept ~= false
  if accepting then readers.add(listener, "listener") end
end

bind(options.port or 0)
local port = 0
if not options.unix then port = select(2, listener:getsockname()) end

-- Clients are refused from now on, for so many seconds or for good. The port stays bound without listening, so that
-- no other process, and no client's own outgoing connection, can take it meanwhile.
local function stop_listening(seconds)
  readers.remove(listener)
  accepting = false
  listener:close()
  if not options.unix then bind(port) end
  reopen_at = seconds and now() + seconds
end

---------------------------------------------------------------------------------------------------------------------
-- Answers

local reasons = {
  [200] = "OK", [201] = "Created", [202] = "Accepted", [204] = "No Content", [301] = "Moved Permanently",
  [302] = "Found", [304] = "Not Modified", [307] = "Temporary Redirect", [308] = "Permanent Redirect",
  [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not Found",
  [405] = "Method Not Allowed", [407] = "Proxy Authentication Required", [408] = "Request Timeout", [409] = "Conflict",
  [413] = "Content Too Large", [422] = "Unprocessable Content", [429] = "Too Many Requests",
  [500] = "Internal Server Error", [502] = "Bad Gateway", [503] = "Service Unavailable", [504] = "Gateway Timeout",
}

-- The text of an answer. headers: name → value, or name → list of values for a repeated header.
local function format_answer(connection, status, headers, body)
  local lines = { ("HTTP/1.1 %d %s"):format(status, reasons[status] or "Status") }
  local framed, says_close = false, false
  for name, values in pairs(headers or {}) do
    local lower = name:lower()
    framed = framed or lower == "content-length" or lower == "transfer-encoding"
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      lines[#lines + 1] = name .. ": " .. value
      says_close = says_close or lower == "connection" and tostring(value):lower() == "close"
    end
  end
  if not framed and status ~= 204 and status ~= 304 then lines[#lines + 1] = "Content-Length: " .. #body end
  if connection.last and not says_close then lines[#lines + 1] = "Connection: close" end
  connection.last = connection.last or says_close
  local without_body = connection.request.method == "HEAD" or status == 204 or status == 304
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (without_body and "" or body)
end

local json_headers = { ["Content-Type"] = "application/json" }

local function with_json_type(headers)
  if not headers then return json_headers end
  local all = { ["Content-Type"] = "application/json" }
  for name, value in pairs(headers) do all[name] = value end
  return all
end

-- The functions that a handler calls. Those that send return false once the client has left, and never raise for it.
local function make_reply(connection)
  local reply = {}
  local vector_dim = options.dim

  local function answered() connection.answered = true end

  -- A complete answer; the connection is kept as HTTP/1.1 says.
  function reply.send(status, headers, body)
    answered()
    return send(connection, format_answer(connection, status, headers, body or ""))
  end

  function reply.json(status, text, headers) return reply.send(status, with_json_type(headers), text) end

  function reply.embedding(id, dim)
    return reply.json(200, answers.embedding(id or connection.request.id, dim or vector_dim))
  end

  -- The same answer's body as text, for a handler that spoils it before it sends it.
  function reply.embedding_text(id, dim)
    return answers.embedding(id or connection.request.id, dim or vector_dim)
  end

  function reply.vector(id, dim)
    return reply.json(200, '{"status":"success","data":'
      .. answers.record(id or connection.request.id, dim or vector_dim) .. "}")
  end

  function reply.not_indexed()
    return reply.json(404, answers.error("not indexed: " .. (connection.request.id or "?")))
  end

  -- What a correct backend does with this request, remembering in state.indexed (id → true) what was embedded.
  function reply.correctly()
    local request = connection.request
    state.indexed = state.indexed or {}
    local indexed = state.indexed
    if request.method == "POST" and request.path == "/api/v1/embedding/image" then
      if request.query.auto_index == "true" then indexed[request.id] = true end
      return reply.embedding()
    elseif request.path == "/api/v1/vectors/batch/get" or request.path == "/api/v1/vectors/" then
      local asked, format = request.query_all.ids, answers.record
      if request.path == "/api/v1/vectors/" then
        asked, format = {}, answers.listed
        for id in pairs(indexed) do
          if id >= (request.query.offset or "") then asked[#asked + 1] = id end
        end
        table.sort(asked)
      end
      local records, limit = {}, tonumber(request.query.limit) or 1000
      for _, id in ipairs(asked or {}) do
        if indexed[id] and #records < limit then records[#records + 1] = format(id, vector_dim) end
      end
      return reply.json(200, '{"status":"success","data":[' .. table.concat(records, ",") .. '],"total":'
        .. #records .. "}")
    elseif request.path == "/api/v1/vectors/stats/count" then
      local count = 0
      for _ in pairs(indexed) do count = count + 1 end
      return reply.json(200, '{"status":"success","count":' .. count .. "}")
    elseif request.method == "GET" and request.id then
      if indexed[request.id] then return reply.vector() end
      return reply.not_indexed()
    elseif request.path == "/health" then
      return reply.json(200, '{"status":"healthy"}')
    end
    return reply.json(404, answers.error("Not Found"))
  end

  -- Any bytes, any number of times. The connection stays open afterwards unless it is closed.
  function reply.raw(bytes)
    answered()
    -- A handler that sends without end must not keep the others from running.
    pause(connection, nil, 0)
    return send(connection, bytes)
  end

  -- One byte at a time.
  function reply.drip(bytes, seconds_between)
    answered()
    for i = 1, #bytes do
      if not send(connection, bytes:sub(i, i)) then return false end
      if i < #bytes then pause(connection, nil, seconds_between) end
    end
    return true
  end

  -- A correct embedding answer, of which only the first bytes arrive.
  function reply.cut(after_bytes, how, dim)
    answered()
    local whole = format_answer(connection, 200, json_headers, reply.embedding_text(nil, dim))
    send(connection, whole:sub(1, after_bytes))
    close(connection, how)
  end

  -- No answer until the client leaves.
  function reply.hang()
    answered()
    repeat until not receive(connection)
    close(connection, "fin")
  end

  function reply.sleep(seconds) pause(connection, nil, seconds) end

  -- The request's body; needed only under options.early_answer, where the handler runs before the body is read.
  function reply.body() return read_body(connection) end

  function reply.close()
    answered()
    close(connection, "fin")
  end

  function reply.reset()
    answered()
    close(connection, "rst")
  end

  -- New connections are refused, for so many seconds or for good; the open ones go on.
  function reply.pause_accept(seconds) stop_listening(seconds) end

  -- As if the backend died and was started again after so many seconds (or never): every connection is reset and all
  -- work in progress is lost, this handler call included. Does not return.
  function reply.down(seconds)
    stop_listening(seconds)
    local dying = {}
    for other in pairs(connections) do dying[#dying + 1] = other end
    for _, other in ipairs(dying) do
      other.lost = true
      close(other, "rst")
    end
    in_flight = 0
    coroutine.yield()
  end

  return reply
end

---------------------------------------------------------------------------------------------------------------------
-- Serving

local function keeps_connection(request)
  local wish = (request.headers.connection or ""):lower()
  if request.version == "1.1" then return wish ~= "close" end
  return wish == "keep-alive"
end

local function answer(connection, head)
  local request = request_log.parse_head(head)
  requests = requests + 1
  connection.requests = connection.requests + 1
  in_flight = in_flight + 1
  request.n = requests
  request.connection = connection.number
  request.request_on_connection = connection.requests
  request.time = now()
  request.in_flight = in_flight
  request.seen = see(request)
  log:write(request_log.request_line(request, head))

  connection.request = request
  connection.answered = false
  connection.last = not keeps_connection(request) or connection.requests == options.requests_per_connection
  if options.early_answer or read_body(connection) then
    handler(request, connection.reply)
    if not connection.answered then
      error("the handler gave no answer", 0)
    end
    if not connection.closed then read_body(connection) end
  else
    connection.last = true
  end
  in_flight = in_flight - 1
  connection.request = nil
end

local tls_context

local function start_tls(connection)
  local ssl = require("ssl")
  tls_context = tls_context or assert(ssl.newcontext {
    mode = "server", protocol = options.tls.protocol or "any", certificate = options.tls.cert, key = options.tls.key,
    options = { "no_sslv2", "no_sslv3" },
    cafile = options.tls.client_ca, verify = options.tls.client_ca and { "peer", "fail_if_no_peer_cert" } or "none",
  })
  connection.socket = assert(ssl.wrap(connection.plain, tls_context))
  connection.socket:settimeout(0)
  while true do
    local done, why = connection.socket:dohandshake()
    if done then return true end
    local set = waits[why]
    if not set then
      -- A close with unread bytes would be a reset, which takes the alert with it.
      on_plain_socket(connection, function(plain) plain:shutdown("send") end)
      repeat
        pause(connection, readers)
        local _, gone, left
        on_plain_socket(connection, function(plain) _, gone, left = plain:receive(READ_BYTES) end)
      until gone ~= "timeout" or left == ""
      connection.gone = true
      return false
    end
    pause(connection, set)
  end
end

local function serve(connection)
  if greet then greet(connection.number, connection.reply) end
  if not connection.closed and (not options.tls or start_tls(connection)) then
    while not connection.closed and not connection.last do
      local head = read_head(connection)
      if not head then break end
      answer(connection, head)
    end
  end
  close(connection, "fin")
end

-- Runs the connection's coroutine until it waits again; an error in the handler costs the client its connection.
local function resume(connection, value)
  local ok, why = coroutine.resume(connection.thread, value)
  if ok then return end
  local request = connection.request
  local where = request and ("request %d %s %s"):format(request.n, request.method, request.target)
    or "connection " .. connection.number
  report(debug.traceback(connection.thread, where .. ": " .. tostring(why)))
  if request then in_flight = in_flight - 1 end
  close(connection, "rst")
end

local function wake(connection, ready)
  if connection.lost then return end
  stop_waiting(connection)
  resume(connection, ready)
end

local function accept()
  -- A handler that runs at once may close the listener.
  while accepting and open_count < MAX_CONNECTIONS do
    local client = listener:accept()
    if not client then return end
    client:settimeout(0)
    if not options.unix then client:setoption("tcp-nodelay", true) end
    connections_seen = connections_seen + 1
    open_count = open_count + 1
    log:write(request_log.connection_line(connections_seen, now()))
    local connection = { socket = client, plain = client, number = connections_seen, requests = 0, buffer = "" }
    connection.reply = make_reply(connection)
    connection.thread = coroutine.create(serve)
    connections[connection] = true
    resume(connection, connection)
  end
end

-- Standard input is a pipe from the spec: it closes when the spec's process ends, whatever the reason.
local lifeline = { getfd = function() return 0 end, dirty = function() return false end }
readers.add(lifeline, "lifeline")

listen()
do
  local file = assert(io.open(dir .. "/port.new", "w"))
  file:write(port)
  file:close()
  assert(os.rename(dir .. "/port.new", dir .. "/port"))
end

while true do
  local time, nearest = now(), reopen_at
  local due = {}
  for connection, at in pairs(deadlines) do
    if at <= time then
      due[#due + 1] = connection
    elseif not nearest or at < nearest then
      nearest = at
    end
  end
  for _, connection in ipairs(due) do wake(connection, false) end
  if reopen_at and reopen_at <= time then
    reopen_at = nil
    if options.unix then bind() end
    listen()
  end

  -- A connection that was woken may have set a nearer deadline: look again without waiting.
  local timeout = #due > 0 and 0 or nearest and math.max(0, nearest - now()) or nil
  local full = accepting and open_count >= MAX_CONNECTIONS
  if full then readers.remove(listener) end
  local readable, writable = socket.select(readers.list, writers.list, timeout)
  if full then readers.add(listener, "listener") end

  for _, set in ipairs { { readable, readers }, { writable, writers } } do
    for _, sock in ipairs(set[1]) do
      local owner = set[2].owner[sock]
      if owner == "lifeline" then os.exit(0) end
      if owner == "listener" then accept() elseif owner then wake(owner, true) end
    end
  end
end
