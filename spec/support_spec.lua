-- The misbehaving server really misbehaves, as seen by plain sockets and by curl, and the harness tells the truth
-- about the commands it runs. Times are only bounded from above, and generously, to notice what hangs.

local cjson = require("cjson")
local lfs = require("lfs")
local socket = require("socket")
local ssl = require("ssl")
local answers = require("spec.support.backend_answers")
local certificates = require("spec.support.certificates")
local harness = require("spec.support.harness")
local paths = require("spec.support.paths")
local process = require("spec.support.process")
local server = require("spec.support.server")

local HANG_SECONDS = 20

local function own_folders()
  local base, found = os.getenv("TMPDIR") or "/tmp", {}
  for name in lfs.dir(base) do
    if name:find("revec-spec-" .. process.own_pid .. "-", 1, true) then found[#found + 1] = name end
  end
  return found
end

local function open_descriptors()
  local count = 0
  for _ in lfs.dir("/proc/self/fd") do count = count + 1 end
  return count
end

-- Children of this process, dead but unreaped ones included.
local function children()
  local found = {}
  for name in lfs.dir("/proc") do
    local stat = name:find("^%d+$") and process.read("/proc/" .. name .. "/stat")
    if stat and stat:match("^.*%) %S (%d+)") == process.own_pid then found[#found + 1] = stat end
  end
  return found
end

local clients, ports = {}, {}

local function connect(s)
  local client = assert(socket.tcp4())
  clients[#clients + 1] = client
  client:settimeout(HANG_SECONDS)
  local ok, why = client:connect("127.0.0.1", s.port)
  if not ok then return nil, why end
  ports[client] = { own = select(2, client:getsockname()), peer = s.port }
  return client
end

local function ask(client, target, method, headers)
  return client:send((method or "GET") .. " " .. target .. " HTTP/1.1\r\nHost: x\r\n" .. (headers or "") .. "\r\n")
end

-- Reads one answer with a Content-Length: status, body, head.
local function read_answer(client)
  local lines = {}
  repeat
    local line, why = client:receive("*l")
    if not line then return nil, why end
    lines[#lines + 1] = line
  until line == ""
  local head = table.concat(lines, "\n")
  local length = head:match("\n[Cc]ontent%-[Ll]ength: (%d+)")
  local body, why = client:receive(tonumber(length))
  if not body then return nil, why end
  return tonumber(head:match("^HTTP/1.1 (%d+)")), body, head
end

-- How the server ended its side of a connection, from the kernel's table, since luasocket calls both "closed":
-- after a FIN our side waits to be closed (state 08), after an RST there is no such connection any more.
local function ending(client)
  local connection = (" %%x+:%04X %%x+:%04X (%%x%%x) "):format(ports[client].own, ports[client].peer)
  local state = process.read("/proc/net/tcp"):match(connection)
  return state == nil and "rst" or state == "08" and "fin" or state
end

-- Everything until the connection ends, and how it ended: "fin" or "rst".
local function read_all(client)
  local pieces = {}
  while true do
    local data, why, partial = client:receive(4096)
    pieces[#pieces + 1] = data or partial
    if not data then
      return table.concat(pieces), why == "closed" and ending(client) or why
    end
  end
end

-- curl's exit code and what it printed; -w and further options come in as arguments.
local function curl(...)
  local outcome = harness.run {
    command = { "curl", "-sS", "--max-time", tostring(HANG_SECONDS), ... }, timeout = HANG_SECONDS + 5,
    env = { http_proxy = false, https_proxy = false, HTTP_PROXY = false, HTTPS_PROXY = false, ALL_PROXY = false },
  }
  return outcome.code, outcome.stdout, outcome.stderr
end

local function start(body, options)
  return server.start("return function(request, reply)\n" .. body .. "\nend", options)
end

local function lua_script(text)
  local path = harness.tempdir() .. "/script.lua"
  harness.write(path, text)
  return path
end

local descriptors_at_start

describe("the support code", function()
  setup(function()
    -- The event loop behind process.lua opens descriptors of its own at the first use of each kind, and keeps them.
    process.spawn { command = { "true" }, stdin = "lifeline" }:wait(HANG_SECONDS)
    collectgarbage()
    descriptors_at_start = open_descriptors()
  end)

  after_each(function()
    for _, client in ipairs(clients) do client:close() end
    clients, ports = {}, {}
    harness.cleanup()
    server.stop_all()
  end)

  describe("server log", function()
    it("tells everything about each request, in order", function()
      local s = start "reply.json(200, '{}')"
      local client = connect(s)
      ask(client, "/api/v1/embedding/image?image_id=a%2Fb+c&tags=x&auto_index=true", "POST",
        "X-One: 1\r\nx-one: 2\r\nContent-Length: 5\r\n")
      client:send("12345")
      assert.equal(200, (read_answer(client)))
      ask(client, "/api/v1/vectors/caf%C3%A9%20")
      assert.equal(200, (read_answer(client)))
      local other = connect(s)
      ask(other, "/api/v1/vectors/batch/get?ids=A&ids=B", "GET", "Transfer-Encoding: chunked\r\n")
      other:send("3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n")
      assert.equal(200, (read_answer(other)))

      local r = s:requests()
      assert.equal(3, #r)
      assert.same({ 1, 1, 1, "POST", "a/b c", 5 },
        { r[1].n, r[1].connection, r[1].request_on_connection, r[1].method, r[1].id, r[1].body_bytes })
      assert.equal("/api/v1/embedding/image?image_id=a%2Fb+c&tags=x&auto_index=true", r[1].target)
      assert.equal("/api/v1/embedding/image", r[1].path)
      assert.same({ image_id = "a/b c", tags = "x", auto_index = "true" }, r[1].query)
      assert.equal("1, 2", r[1].headers["x-one"])
      assert.same({ 2, 1, 2, "GET", "caf\195\169 ", 0 },
        { r[2].n, r[2].connection, r[2].request_on_connection, r[2].method, r[2].id, r[2].body_bytes })
      assert.same({ "A", "B" }, r[3].query_all.ids)
      assert.same({ 3, 2, 1, 7 }, { r[3].n, r[3].connection, r[3].request_on_connection, r[3].body_bytes })
      assert.is_nil(r[3].id)
      assert.is_true(r[1].time <= r[2].time and math.abs(r[3].time - socket.gettime()) < HANG_SECONDS)

      assert.equal(3, s:count())
      assert.equal(1, s:count("^POST /api/v1/embedding/image%?image_id=a%%2Fb"))
      assert.equal(2, s:count("^GET .*/vectors/"))
      assert.equal(0, s:count("HTTP/1.1"))
      assert.equal(2, s:connections())
    end)

    it("is complete for 2,000 requests over one kept connection, each there before its answer", function()
      local s = start "reply.json(200, '{}')"
      local client = connect(s)
      for i = 1, 2000 do
        ask(client, "/" .. i)
        assert.equal(200, (read_answer(client)))
        if i % 500 == 0 then assert.equal(i, s:count()) end
      end
      local r = s:requests()
      assert.equal(2000, #r)
      for i = 1, 2000 do
        assert.equal("/" .. i, r[i].target)
        assert.equal(i, r[i].request_on_connection)
      end
    end)

    it("has a request whose client left without waiting, and bytes that no header should hold", function()
      local s = start "reply.sleep(0.05) reply.json(200, '{}')"
      local client = connect(s)
      ask(client, "/a\\b\tc", "GET", "X-Odd: \\010\127\200\r\n")
      ask(client, "/second")
      client:close()
      local deadline = socket.gettime() + HANG_SECONDS
      repeat socket.sleep(0.01) until s:count("^GET /a\\b\tc$") == 1 or socket.gettime() > deadline
      assert.equal("\\010\127\200", s:requests()[1].headers["x-odd"])
    end)

    it("takes pipelined requests", function()
      local s = start "reply.send(200, nil, request.path)"
      local client = connect(s)
      client:send("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
      assert.equal("/1", (select(2, read_answer(client))))
      assert.equal("/2", (select(2, read_answer(client))))
    end)
  end)

  describe("server state", function()
    it("lets a handler fail the first requests and then heal", function()
      local s = start [[
        if request.n <= 2 then return reply.json(503, '{"detail":"no"}', { ["Retry-After"] = { "1", "2" } }) end
        state.calls = (state.calls or 0) + 1
        reply.send(200, nil, state.calls .. " " .. request.seen)
      ]]
      local client = connect(s)
      local got = {}
      for i = 1, 4 do
        ask(client, "/api/v1/vectors/same")
        local status, body, head = read_answer(client)
        got[i] = status .. " " .. body
        if i == 1 then assert.truthy(head:find("Retry%-After: 1\nRetry%-After: 2")) end
      end
      assert.same({ '503 {"detail":"no"}', '503 {"detail":"no"}', "200 1 3", "200 2 4" }, got)
    end)

    it("counts what is in flight, at 300 connections at once", function()
      local s = start [[
        state.most = math.max(state.most or 0, request.in_flight)
        if request.path == "/most" then return reply.send(200, nil, state.most .. " " .. request.in_flight) end
        while state.most < 300 do reply.sleep(0.01) end
        reply.json(200, "{}")
      ]]
      local all = {}
      for i = 1, 300 do
        all[i] = connect(s)
        ask(all[i], "/")
      end
      for i = 1, 300 do assert.equal(200, (read_answer(all[i]))) end
      ask(all[1], "/most")
      assert.equal("300 1", (select(2, read_answer(all[1]))))
      local highest = 0
      for _, request in ipairs(s:requests()) do highest = math.max(highest, request.in_flight) end
      assert.equal(300, highest)
    end)
  end)

  describe("server answers", function()
    it("embeds as the backend does", function()
      local s = start "reply.embedding(request.id)"
      local client = connect(s)
      local vectors = {}
      for _, id in ipairs { "one", "two", "one" } do
        ask(client, "/api/v1/embedding/image?image_id=" .. id, "POST")
        local status, body = read_answer(client)
        assert.equal(200, status)
        local answer = cjson.decode(body)
        assert.equal("success", answer.status)
        assert.truthy(body:find('"status".*"message".*"data".*"index".*"embedding".*"dimension":2560}]}$'))
        assert.equal(2560, #answer.data[1].embedding)
        local squares = 0
        for _, x in ipairs(answer.data[1].embedding) do squares = squares + x * x end
        assert.is_true(math.abs(squares - 1) < 1e-9)
        vectors[#vectors + 1] = answer.data[1].embedding
      end
      assert.are_not.same(vectors[1], vectors[2])
      assert.same(vectors[1], vectors[3])
    end)

    it("looks up, and finds nothing", function()
      local s = start [[
        if request.id == "there" then return reply.vector() end
        reply.not_indexed()
      ]]
      local client = connect(s)
      ask(client, "/api/v1/vectors/there")
      local status, body = read_answer(client)
      assert.equal(200, status)
      local data = cjson.decode(body).data
      assert.same({ "there", 2560 }, { data.id, #data.vector })
      ask(client, "/api/v1/vectors/%22else%22")
      status, body = read_answer(client)
      assert.equal(404, status)
      assert.same({ detail = 'not indexed: "else"' }, cjson.decode(body))
    end)

    it("behaves as a whole backend where nothing else was asked for", function()
      local s = start("reply.correctly()", { dim = 3 })
      local client = connect(s)
      local function get(target, method)
        ask(client, target, method)
        local status, body = read_answer(client)
        return status, cjson.decode(body)
      end
      assert.equal(404, (get "/api/v1/vectors/a"))
      for _, id in ipairs { "b", "c", "a" } do
        assert.equal(200, (get("/api/v1/embedding/image?image_id=" .. id .. "&auto_index=true", "POST")))
      end
      assert.equal(200, (get("/api/v1/embedding/image?image_id=kept_out", "POST")))
      assert.equal(200, (get "/api/v1/vectors/a"))
      assert.equal(404, (get "/api/v1/vectors/kept_out"))
      local _, bulk = get "/api/v1/vectors/batch/get?ids=c&ids=zz&ids=a"
      assert.same({ "c", "a", 2, 3 }, { bulk.data[1].id, bulk.data[2].id, bulk.total, #bulk.data[1].vector })
      local _, page = get "/api/v1/vectors/?limit=2"
      assert.same({ "a", "b", 2 }, { page.data[1].id, page.data[2].id, page.total })
      assert.is_nil(page.data[1].vector)
      _, page = get "/api/v1/vectors/?limit=2&offset=b"
      assert.same({ "b", "c", 2 }, { page.data[1].id, page.data[2].id, page.total })
      local _, count = get "/api/v1/vectors/stats/count"
      assert.equal(3, count.count)
      assert.equal(200, (get "/health"))
      assert.equal(404, (get "/nowhere"))
    end)

    it("sends no body to HEAD and with 204, and closes when asked to", function()
      local s = start "if request.path == '/204' then return reply.send(204) end reply.send(200, nil, 'body')"
      local client = connect(s)
      ask(client, "/", "HEAD")
      ask(client, "/204")
      ask(client, "/", "GET", "Connection: close\r\n")
      local all, how = read_all(client)
      assert.equal("fin", how)
      assert.equal("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
        .. "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody", all)
    end)

    it("sends raw bytes as they are, and keeps the connection", function()
      local s = start [[
        reply.raw("HTP/9 what\r\n")
        reply.raw("Content-Length: 1\r\nContent-Length: 2\r\n\0\255")
        if request.n == 2 then reply.close() end
      ]]
      local client = connect(s)
      local one = "HTP/9 what\r\nContent-Length: 1\r\nContent-Length: 2\r\n\0\255"
      ask(client, "/")
      assert.equal(one, client:receive(#one))
      ask(client, "/")
      assert.same({ one, "fin" }, { read_all(client) })
    end)

    it("is refused by curl when it talks nonsense", function()
      local s = start "reply.raw('garbage 12\\r\\n\\r\\n') reply.close()"
      assert.equal(1, (curl(s.url))) -- "unsupported protocol": an HTTP/0.9 answer
    end)

    it("sends without end until the client leaves, and serves others meanwhile", function()
      local s = start [[
        if request.path ~= "/flood" then return reply.send(200, nil, state.left and "left" or "flooding") end
        reply.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while reply.raw("1000\r\n" .. ("x"):rep(4096) .. "\r\n") do end
        state.left = true
      ]]
      local flooded, other = connect(s), connect(s)
      ask(flooded, "/flood")
      assert.truthy(flooded:receive(1000000))
      ask(other, "/")
      assert.same("flooding", select(2, read_answer(other)))
      flooded:close()
      local deadline, seen = socket.gettime() + HANG_SECONDS
      repeat
        ask(other, "/")
        seen = select(2, read_answer(other))
      until seen == "left" or socket.gettime() > deadline
      assert.equal("left", seen)
    end)

    it("drips single bytes", function()
      local s = start [[
        reply.drip("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 0)
        reply.drip("abc", 0.03)
      ]]
      local client = connect(s)
      ask(client, "/")
      local head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
      assert.equal(head, client:receive(#head))
      client:settimeout(0)
      local most_at_once, body = 0, ""
      local deadline = socket.gettime() + HANG_SECONDS
      while #body < 3 and socket.gettime() < deadline do
        socket.select({ client }, nil, 1)
        local data, _, partial = client:receive(10)
        data = data or partial
        most_at_once = math.max(most_at_once, #data)
        body = body .. data
      end
      assert.equal("abc", body)
      assert.is_true(most_at_once < 3, most_at_once) -- two may lie in wait for a reader that comes late
    end)

    it("answers late", function()
      local s = start "reply.sleep(0.3) reply.json(200, '{}')"
      local client = connect(s)
      ask(client, "/")
      client:settimeout(0.05)
      assert.equal("timeout", select(2, client:receive(1)))
      client:settimeout(HANG_SECONDS)
      assert.equal(200, (read_answer(client)))
    end)
  end)

  describe("server connections", function()
    it("end by FIN or by RST, with and without a whole answer before", function()
      local s = start [[
        if request.query.first then reply.json(200, "{}") end
        if request.path == "/fin" then reply.close() else reply.reset() end
      ]]
      for path, how in pairs { ["/fin"] = "fin", ["/rst"] = "rst" } do
        local client = connect(s)
        ask(client, path)
        assert.same({ "", how }, { read_all(client) })
        client = connect(s)
        ask(client, path .. "?first=1")
        assert.equal(200, (read_answer(client)))
        assert.same({ "", how }, { read_all(client) })
      end
      assert.same({ 52, 56 }, { (curl(s.url .. "/fin")), (curl(s.url .. "/rst")) })
    end)

    it("end by FIN even with unread bytes of the client's", function()
      local s = start("reply.sleep(0.1) reply.close()", { early_answer = true })
      local client = connect(s)
      ask(client, "/", "POST", "Content-Length: 100\r\n")
      client:send(("x"):rep(100))
      assert.same({ "", "fin" }, { read_all(client) })
    end)

    it("are cut after exactly k bytes of a correct answer, for every k", function()
      local s = start [[
        if request.path == "/whole" then return reply.embedding("x", 4) end
        reply.cut(tonumber(request.query.k), request.query.how, 4)
      ]]
      local client = connect(s)
      ask(client, "/whole", "POST", "Connection: close\r\n")
      local whole = read_all(client):gsub("Connection: close\r\n", "")
      assert.truthy(whole:find(answers.embedding("x", 4), 1, true))
      for _, how in ipairs { "fin", "rst" } do
        for k = 0, #whole do
          client = connect(s)
          ask(client, "/api/v1/embedding/image?image_id=x&how=" .. how .. "&k=" .. k, "POST")
          assert.same({ whole:sub(1, k), how }, { read_all(client) })
          client:close()
        end
      end
      assert.equal(18, (curl(s.url .. "/api/v1/embedding/image?image_id=x&how=fin&k=" .. #whole - 1)))
    end)

    it("hang until the client leaves", function()
      local s = start [[
        if request.path == "/count" then return reply.send(200, nil, tostring(request.in_flight)) end
        reply.hang()
      ]]
      assert.equal(28, (curl("--max-time", "0.3", s.url)))
      local client = connect(s)
      local in_flight
      local deadline = socket.gettime() + HANG_SECONDS
      repeat
        ask(client, "/count")
        in_flight = select(2, read_answer(client))
      until in_flight == "1" or socket.gettime() > deadline
      assert.equal("1", in_flight)
    end)

    it("are closed when idle too long, but not before the first request", function()
      local s = start("reply.json(200, '{}')", { idle_close = 0.1 })
      local client = connect(s)
      socket.sleep(0.3)
      ask(client, "/")
      assert.equal(200, (read_answer(client)))
      assert.same({ "", "fin" }, { read_all(client) })
    end)

    it("are closed after so many requests, which the last answer says", function()
      local s = start("reply.json(200, '{}')", { requests_per_connection = 2 })
      local client = connect(s)
      ask(client, "/")
      assert.falsy(select(3, read_answer(client)):find("Connection: close", 1, true))
      ask(client, "/")
      assert.truthy(select(3, read_answer(client)):find("Connection: close", 1, true))
      assert.same({ "", "fin" }, { read_all(client) })
      assert.equal(0, (curl(s.url, s.url, s.url)))
      assert.same({ 5, 3 }, { s:count(), s:connections() })
    end)

    it("can be met by a greeting before they send anything", function()
      local s = server.start [[
        return function(request, reply) reply.json(200, "{}") end,
          function(connection, reply)
            if connection == 1 then reply.reset() elseif connection == 2 then reply.raw("SSH-2.0-x\r\n") reply.close() end
          end
      ]]
      -- The reset may come before connect() has returned.
      local client, why = connect(s)
      assert.is_true(client ~= nil or why == "closed", why)
      if client then assert.same({ "", "rst" }, { read_all(client) }) end
      assert.same({ "SSH-2.0-x\r\n", "fin" }, { read_all(connect(s)) })
      client = connect(s)
      ask(client, "/")
      assert.equal(200, (read_answer(client)))
      assert.same({ 1, 3 }, { s:count(), s:connections() })
    end)

    it("may be answered before the body is read", function()
      local s = start([[
        if request.path == "/read" then return reply.send(200, nil, tostring(#reply.body())) end
        reply.json(413, "{}")
        reply.reset()
      ]], { early_answer = true })
      local client = connect(s)
      ask(client, "/", "POST", "Content-Length: 1000000\r\n")
      assert.equal(413, (read_answer(client)))
      client = connect(s)
      ask(client, "/read", "POST", "Content-Length: 3\r\nExpect: 100-continue\r\n")
      assert.equal("HTTP/1.1 100 Continue", client:receive("*l"))
      client:receive("*l")
      client:send("abc")
      assert.equal("3", select(2, read_answer(client)))
      assert.same({ 0, 3 }, { s:requests()[1].body_bytes, s:requests()[2].body_bytes })
    end)

    it("whose body breaks off are logged, and not handled", function()
      local s = start "error('called')"
      local client = connect(s)
      ask(client, "/", "POST", "Content-Length: 1000\r\n")
      client:send("0123456789")
      client:shutdown("send")
      read_all(client)
      assert.equal(10, s:requests()[1].body_bytes)
      s:stop()
    end)

    it("get no answer to their SYN when the queue is full", function()
      local s = start("", { accept = false, backlog = 0 })
      assert.truthy(connect(s)) -- fills the queue
      assert.equal(28, (curl("--connect-timeout", "0.5", s.url)))
      assert.equal(0, s:connections())
    end)
  end)

  describe("a server that goes and comes back", function()
    it("refuses new connections for a while and serves the open ones", function()
      local s = start [[
        if request.query.pause then reply.pause_accept(tonumber(request.query.pause)) end
        reply.json(200, '{}')
      ]]
      local client = connect(s)
      ask(client, "/?pause=for_good")
      assert.equal(200, (read_answer(client)))
      assert.same({ nil, "connection refused" }, { connect(s) })
      ask(client, "/?pause=0.2")
      assert.equal(200, (read_answer(client)))
      assert.equal(0, (curl("--retry", "20", "--retry-delay", "1", "--retry-connrefused", s.url)))
    end)

    it("dies with every connection and all work, and comes back on its port", function()
      local s = start [[
        if request.path == "/slow" then reply.sleep(0.2) state.finished = true end
        if request.path == "/down" then reply.down(2) state.finished = true end
        reply.send(200, nil, tostring(state.finished) .. " " .. request.in_flight)
      ]]
      local idle, slow, last = connect(s), connect(s), connect(s)
      ask(idle, "/")
      assert.equal(200, (read_answer(idle)))
      ask(slow, "/slow")
      local deadline = socket.gettime() + HANG_SECONDS
      repeat socket.sleep(0.005) until s:count("/slow") == 1 or socket.gettime() > deadline
      ask(last, "/down")
      for _, client in ipairs { idle, slow, last } do assert.same({ "", "rst" }, { read_all(client) }) end
      assert.same({ nil, "connection refused" }, { connect(s) })
      local back
      repeat
        socket.sleep(0.01)
        back = connect(s)
      until back or socket.gettime() > deadline
      ask(back, "/")
      assert.equal("nil 1", (select(2, read_answer(back))))
    end)

    it("is killed and revived by the spec, with one log", function()
      local s = start "state.calls = (state.calls or 0) + 1 reply.send(200, nil, state.calls .. ' ' .. request.seen)"
      local url, client = s.url, connect(s)
      for i = 1, 3 do
        ask(client, "/same")
        assert.equal(i .. " " .. i, select(2, read_answer(client)))
      end
      s:kill()
      assert.same({ nil, "connection refused" }, { connect(s) })
      assert.equal(7, (curl(url)))
      s:revive()
      assert.equal(url, s.url)
      client = connect(s)
      ask(client, "/same")
      assert.equal("1 4", select(2, read_answer(client)))
      local r = s:requests()
      assert.same({ 4, 4, 2, 1 }, { #r, r[4].n, r[4].connection, r[4].request_on_connection })
      s:kill()
      s:stop()
    end)
  end)

  describe("server over TLS", function()
    local SSL_CONNECT_ERROR, BAD_CERTIFICATE = 35, 60

    it("shows the certificate that it was given", function()
      local made = certificates.make(harness.tempdir())
      local function verdict(pair)
        local s = start("reply.json(200, '{}')", { tls = pair })
        local code, out = curl("--cacert", made.ca, s.url)
        local trusting, anyway = curl("--insecure", s.url)
        assert.same({ 0, "{}" }, { trusting, anyway })
        s:stop()
        return code, out
      end
      assert.same({ 0, "{}" }, { verdict(made.good) })
      assert.equal(BAD_CERTIFICATE, (verdict(made.expired)))
      assert.equal(BAD_CERTIFICATE, (verdict(made.wrong_host)))
      assert.equal(BAD_CERTIFICATE, (verdict(made.self_signed)))
    end)

    it("counts the connections of clients that turn away", function()
      local made = certificates.make(harness.tempdir())
      local s = start("reply.json(200, '{}')", { tls = made.self_signed })
      assert.equal(BAD_CERTIFICATE, (curl(s.url)))
      assert.same({ 0, 1 }, { s:count(), s:connections() })
    end)

    it("serves big answers, cuts, resets and leaves out its farewell", function()
      local made = certificates.make(harness.tempdir())
      local source = [[
        if request.path == "/big" then return reply.send(200, nil, ("x"):rep(3000000)) end
        if request.path == "/rst" then return reply.reset() end
        reply.raw("HTTP/1.0 200 OK\r\n\r\nto the end")
        reply.close()
      ]]
      local s = start(source, { tls = made.good })
      local code, out = curl("--cacert", made.ca, s.url .. "/big")
      assert.same({ 0, 3000000 }, { code, #out })
      assert.not_equal(0, (curl("--cacert", made.ca, s.url .. "/rst")))
      code, out = curl("--cacert", made.ca, s.url)
      assert.same({ 0, "to the end" }, { code, out })
      s:stop()
      made.good.close_notify = false
      s = start(source, { tls = made.good })
      -- curl pardons it; our own client does not.
      local client = connect(s)
      local secure = assert(ssl.wrap(client, { mode = "client", protocol = "any", verify = "none" }))
      clients[#clients + 1] = secure
      assert(secure:dohandshake())
      ask(secure, "/")
      local _, why, body = secure:receive(1000)
      assert.truthy(body:find("to the end$"))
      assert.equal("unexpected eof while reading", why)
    end)

    it("breaks off within the handshake", function()
      local s = server.start [[
        return function() end, function(connection, reply)
          if connection == 2 then reply.raw("\21\3\1\0\2\2\40") end
          reply.close()
        end
      ]]
      local url = s.url:gsub("^http:", "https:")
      assert.equal(SSL_CONNECT_ERROR, (curl(url)))
      assert.equal(SSL_CONNECT_ERROR, (curl(url)))
      assert.equal(2, s:connections())
    end)
  end)

  it("the server listens on a unix socket, and goes and comes back there", function()
    local path = harness.tempdir() .. "/s"
    local s = start([[
      if request.path == "/pause" then reply.pause_accept(2) end
      reply.json(200, "{}")
    ]], { unix = path })
    local code, out = curl("--unix-socket", path, s.url .. "/pause")
    assert.same({ 0, "{}" }, { code, out })
    assert.equal(7, (curl("--unix-socket", path, s.url)))
    assert.equal(0, (curl("--retry", "20", "--retry-delay", "1", "--retry-connrefused", "--unix-socket", path, s.url)))
    s:kill()
    assert.equal(7, (curl("--unix-socket", path, s.url)))
    s:revive()
    assert.equal(0, (curl("--unix-socket", path, s.url)))
    assert.equal(3, s:count("^GET "))
    s:stop()
    assert.is_nil(lfs.attributes(path))
  end)

  describe("a faulty spec", function()
    it("is told what its handler raised", function()
      local s = start "local x = nil\nreturn x.y"
      local client = connect(s)
      ask(client, "/boom")
      assert.same({ "", "rst" }, { read_all(client) })
      local ok, why = pcall(s.stop, s)
      assert.is_false(ok)
      assert.truthy(why:find("request 1 GET /boom: handler:3: attempt to index", 1, true), why)
    end)

    it("is told that its handler gave no answer", function()
      local s = start "if request.id then reply.json(200, '{}') end"
      ask(connect(s), "/unforeseen")
      read_all(clients[1])
      local ok, why = pcall(s.stop, s)
      assert.is_false(ok)
      assert.truthy(why:find("request 1 GET /unforeseen: the handler gave no answer", 1, true), why)
    end)

    it("is told when the server cannot start, or ends by itself", function()
      local ok, why = pcall(server.start, "return function(")
      assert.is_false(ok)
      assert.truthy(why:find("did not start.*handler:1:"), why)
      assert.has_error(function() start("", { idle_clos = 1 }) end, "server.start: unknown option idle_clos")

      local s = start "os.exit(3)"
      ask(connect(s), "/")
      read_all(clients[1])
      ok, why = pcall(s.stop, s)
      assert.is_false(ok)
      assert.truthy(why:find("ended by itself", 1, true), why)
    end)

    it("that dies leaves no server behind", function()
      local script = lua_script(([[
        package.path = %q .. "/?.lua;" .. package.path
        local s = require("spec.support.server").start("return function(_, reply) reply.json(200, '{}') end")
        io.write(s.child.pid, "\n", s.dir, "\n")
        io.stdout:flush()
        require("luv").kill(require("luv").os_getpid(), 9)
      ]]):format(harness.root))
      local outcome = harness.run { script = script }
      assert.equal("KILL", outcome.signal)
      local pid, dir = outcome.stdout:match("^(%d+)\n([^\n]+)\n")
      local deadline = socket.gettime() + HANG_SECONDS
      local function alive()
        local stat = process.read("/proc/" .. pid .. "/stat")
        return stat and not stat:find("%) Z ")
      end
      while alive() and socket.gettime() < deadline do socket.sleep(0.01) end
      assert.falsy(alive())
      process.remove(dir)
    end)
  end)

  describe("harness.run", function()
    it("passes any bytes, a folder, an environment and an input", function()
      local script = lua_script [[
        for i = 1, #arg do io.write(#arg[i], ":", arg[i], ",") end
        io.write("\n", os.getenv("ONE") or "-", " ", os.getenv("TWO") or "-", " ", os.getenv("HOME") or "-", "\n")
        io.write(io.read("*a"))
        io.stderr:write(io.open("here"):read("*a"))
      ]]
      local dir = harness.tree { "here" }
      local odd = {}
      for code = 1, 255 do odd[code] = string.char(code) end
      local args = { "", " ", "a b", "'", '"', "$HOME", "`x`", "*", "\\", "--flag", "\n", "\195\169", table.concat(odd) }
      local expected = {}
      for i, word in ipairs(args) do expected[i] = #word .. ":" .. word .. "," end
      local outcome = harness.run {
        script = script, args = args, env = { ONE = "1 '2'", HOME = false }, cwd = dir, stdin = "in\0put",
      }
      assert.equal(table.concat(expected) .. "\n1 '2' - -\nin\0put", outcome.stdout)
      assert.equal("here", outcome.stderr)
      assert.equal(outcome.stdout .. "here", outcome.output)
      assert.equal(dir, outcome.cwd)
      assert.equal(0, outcome.code)
      assert.is_nil(outcome.signal)
      assert.is_true(outcome.seconds >= 0 and outcome.seconds < HANG_SECONDS)
    end)

    it("gives no input by default, and a fresh folder", function()
      local outcome = harness.run { script = lua_script "io.write(#io.read('*a'))" }
      assert.equal("0", outcome.stdout)
      assert.same({}, harness.list(outcome.cwd))
    end)

    it("tells exit codes and signals apart", function()
      for _, code in ipairs { 0, 1, 3, 124, 130, 137, 143, 255 } do
        local outcome = harness.run { script = lua_script("os.exit(" .. code .. ")") }
        assert.same({ code = code }, { code = outcome.code, signal = outcome.signal })
      end
      for _, signal in ipairs { "INT", "TERM", "KILL", "HUP" } do
        local outcome = harness.run { command = { "sh", "-c", "kill -" .. signal .. " $$; sleep 5" } }
        assert.same({ signal = signal }, { code = outcome.code, signal = outcome.signal })
      end
    end)

    it("kills what takes too long and fails, showing the output so far", function()
      local script = lua_script [[
        io.write("got so far\n")
        io.stdout:flush()
        while true do end
      ]]
      local ok, why = pcall(harness.run, { script = script, args = { "some argument" }, timeout = 0.5 })
      assert.is_false(ok)
      assert.truthy(why:find("killed after 0.5 seconds: .*some argument\ngot so far"), why)
      assert.same({}, children())
    end)

    it("runs under the interpreter of the spec", function()
      local script = lua_script "io.write(_VERSION, ' ', tostring(jit and jit.version))"
      local jit = rawget(_G, "jit")
      local outcome = harness.run { script = script }
      assert.equal(_VERSION .. " " .. tostring(jit and jit.version), outcome.stdout)
      local pipe = io.popen(harness.lua_command() .. " " .. process.quote(script))
      assert.equal(_VERSION .. " " .. tostring(jit and jit.version), pipe:read("*a"))
      pipe:close()
    end)

    it("raises what it cannot do", function()
      assert.error_matches(function() harness.run { command = { "/no/such/program" } } end, "cannot start /no/such/program")
      assert.error_matches(function() harness.run { arg = {} } end, "unknown option arg")
    end)

    it("starts rebuild.lua when nothing else is named", function()
      local spawned = harness.spawn { args = { "--version" } }
      assert.equal(harness.root .. "/rebuild.lua", spawned.child.command[#spawned.child.command - 1])
      assert.truthy(spawned:wait().code)
    end)
  end)

  describe("harness.spawn", function()
    it("sees the output grow, sends signals and waits for the end", function()
      local script = lua_script [[
        io.write("ready 42\n")
        io.stdout:flush()
        io.read("*a")
        while true do end
      ]]
      local spawned = harness.spawn { script = script }
      assert.equal("42", spawned:wait_for("ready (%d+)\n"))
      assert.equal("ready 42\n", spawned:output_so_far())
      assert.truthy(process.read("/proc/" .. spawned.pid .. "/cmdline"):find(script, 1, true))
      spawned:signal("USR1")
      local outcome = spawned:wait(HANG_SECONDS)
      assert.same({ signal = "USR1" }, { signal = outcome.signal, code = outcome.code })
      assert.equal("ready 42\n", outcome.stdout)
      assert.same(outcome, spawned:wait())
    end)

    it("lets SIGINT through", function()
      local spawned = harness.spawn { command = { "sh", "-c", "trap 'exit 130' INT; echo up; while :; do sleep 0.05; done" } }
      spawned:wait_for("up")
      spawned:signal("INT")
      assert.equal(130, spawned:wait(HANG_SECONDS).code)
    end)

    it("fails when the awaited output does not come", function()
      local spawned = harness.spawn { script = lua_script "io.write('other')" }
      assert.error_matches(function() spawned:wait_for("this", HANG_SECONDS) end, 'the command ended without "this".*other')
      spawned = harness.spawn { script = lua_script "while true do end" }
      assert.error_matches(function() spawned:wait_for("this", 0.1) end, "timed out without")
    end)

    it("is ended by cleanup", function()
      local spawned = harness.spawn { script = lua_script "while true do end" }
      harness.cleanup()
      assert.is_nil(lfs.attributes("/proc/" .. spawned.pid))
    end)
  end)

  describe("harness files", function()
    it("make a storage and list it", function()
      local dir = harness.tree { "a.jpg", "2026/01/b.png", "2026/new\nline.gif" }
      assert.same({ "2026", "a.jpg" }, harness.list(dir))
      assert.same({ "01", "new\nline.gif" }, harness.list(dir .. "/2026"))
      assert.equal("2026/01/b.png", harness.read(dir .. "/2026/01/b.png"))
      assert.is_nil((harness.read(dir .. "/none")))
    end)

    it("decode failure records", function()
      local dir = harness.tree { "other.json" }
      assert.same({}, harness.records(dir))
      harness.write(dir .. "/failed_images_20260125_120000.json", '[{"id":"a"}]')
      harness.write(dir .. "/failed_images_20260125_120000_2.json", "[]")
      assert.same({ { { id = "a" } }, {} }, harness.records(dir))
    end)

    it("find a port that nobody has", function()
      local port = harness.free_port()
      local probe = assert(socket.bind("127.0.0.1", port))
      probe:close()
    end)

    it("are removed by cleanup, links not followed", function()
      local kept = harness.tree { "kept" }
      local dir = harness.tree { "a/b/c" }
      assert(lfs.link(kept, dir .. "/a/link", true))
      process.remove(dir)
      assert.is_nil(lfs.attributes(dir))
      assert.same({ "kept" }, harness.list(kept))
      harness.cleanup()
      assert.is_nil(lfs.attributes(kept))
    end)
  end)

  it("starts, steers and stops the example backend", function()
    local storage = harness.tree { "one.jpg" }
    local backend = harness.backend(storage, { dim = 8 })
    local code, out = curl("-X", "POST", backend.url .. "/api/v1/embedding/image?image_id=one&auto_index=true")
    assert.equal(0, code)
    assert.equal(8, cjson.decode(out).data[1].dimension)
    backend:control { latency_ms = 1 }
    assert.equal(1, backend:counters().settings.latency_ms)
    backend:control()
    assert.is_nil(backend:counters().settings.latency_ms)
    assert.error_matches(function() backend:control { latency = 1 } end, "answered 400 to POST /_control")
    local command = { harness.root .. "/examples/backend/backend", "url", "--state", backend.state }
    assert.equal(0, harness.run { command = command }.code)
    backend:stop()
    assert.equal(1, harness.run { command = command }.code)
  end)

  it("has the example backend describe what can be seen, and keep it in a file", function()
    local storage, dir = harness.tree { "text.jpg" }, harness.tempdir()
    harness.shell(("%s/render --out %s/pictures --count 2 >/dev/null && find %s/pictures -type f -name '*.*' -exec cp {} %s \\;")
      :format(paths.build, dir, dir, storage))
    local backend = harness.backend(storage, { index = dir .. "/index.sqlite" })
    local function asked(method, target)
      local _, out = curl("-X", method, backend.url .. "/api/v1/" .. target)
      return cjson.decode(out)
    end
    local ids = {}
    for _, name in ipairs(harness.list(storage)) do ids[#ids + 1] = name:match("^(%x+%-.*)%.") end
    assert.equal(2, #ids)
    for _, id in ipairs(ids) do assert.equal(132, asked("POST", "embedding/image?auto_index=true&image_id=" .. id).data[1].dimension) end
    assert.matches("无法解码", asked("POST", "embedding/image?auto_index=true&image_id=text").detail)
    local page = asked("GET", "vectors/?limit=1").data
    assert.equal(ids[1], page[1].id)
    assert.equal(ids[2], asked("GET", "vectors/?limit=1&offset=" .. ids[2]).data[1].id)
    assert.equal(132, #asked("GET", "vectors/" .. ids[1]).data.vector)
    asked("DELETE", "vectors/" .. ids[1])
    assert.equal(1, asked("GET", "vectors/stats/count").count)
    backend:stop()
    local store = require("revec.store").open(dir .. "/index.sqlite")
    assert.same({ [ids[2]] = true }, store:has(ids))
    store:close()
  end)

  it("leaves no process, no descriptor and no file behind", function()
    collectgarbage()
    collectgarbage()
    assert.same({}, children())
    assert.same({}, own_folders())
    assert.equal(descriptors_at_start, open_descriptors())
  end)
end)
