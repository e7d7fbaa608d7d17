-- What one request sends, what is kept of its answer, and what an answer that is not as promised is called.

require("spec.support.paths")
local socket = require("socket")
local census = require("spec.support.census")
local engines = require("spec.support.engines")
local server = require("spec.support.server")

local before

-- The first child process of all opens descriptors that stay.
setup(function() server.start("return function() end"):stop() end)

before_each(function() before = census.take() end)

after_each(function()
  engines.close_all()
  server.stop_all()
  assert.same(before, census.take(before))
end)

-- An engine on a server that runs this handler body, which knows `request` and `reply`.
local function serve(body, options, server_options)
  local s = server.start("return function(request, reply) " .. body .. " end", server_options)
  return engines.new(s, options), s
end

describe("an answer", function()
  it("of 50 KB gives the wanted fields as text or JSON, without its vector", function()
    local engine, s = serve [[
      local vector = "[" .. ("0.123456789,"):rep(4200) .. "0]"
      reply.json(200, '{"status":"success","message":"all \\"well\\" \\u00e9","count":12,"tags":["a","b"],"none":null,'
        .. '"embedding":' .. vector .. ',"late":true}')
    ]]
    local route = engine:route { fields = { "status", "message", "count", "tags", "none", "missing" }, status_field = true }
    local event = engines.ask(engine, route, s.url .. "/")
    assert.same({ status = "success", message = 'all "well" \195\169', count = "12", tags = '["a","b"]', none = "null" },
      event.fields)
    assert.is_nil(event.body)
    assert.is_nil(event.kind)
    local late = engine:route { fields = { "late" } }
    assert.same({ late = "true" }, engines.ask(engine, late, s.url .. "/").fields)
  end)

  it("gives its fields however small the pieces that it comes in", function()
    local engine, s = serve [[
      reply.drip('HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"a":"x\\ny","b":[1,2]}', 0.001)
    ]]
    local event = engines.ask(engine, engine:route { fields = { "a", "b" } }, s.url .. "/")
    assert.same({ a = "x\ny", b = "[1,2]" }, event.fields)
  end)

  it("is too large one byte over its cap, and no more is read of it", function()
    local engine, s = serve [[
      reply.json(200, '{"a":"' .. ("x"):rep(tonumber(request.query.n) - 8) .. '"}')
    ]]
    local route = engine:route { fields = { "a" }, max_bytes = 2000 }
    assert.is_nil(engines.ask(engine, route, s.url .. "/?n=2000").kind)
    local event = engines.ask(engine, route, s.url .. "/?n=2001")
    assert.same({ "too_large", 200, 1 }, { event.kind, event.status, event.sends })
    assert.equal("too_large", engines.ask(engine, route, s.url .. "/?n=5000000").kind)
    assert.is_nil(engines.ask(engine, route, s.url .. "/?n=100").kind)
  end)

  it("is too large when its headers have no end", function()
    local engine, s = serve [[
      reply.raw("HTTP/1.1 200 OK\r\n")
      repeat until not reply.raw("X-Filler: " .. ("x"):rep(1000) .. "\r\n")
    ]]
    assert.equal("too_large", engines.ask(engine, engine:route {}, s.url .. "/").kind)
  end)

  it("is too large with one header line of a megabyte, and is not asked for again", function()
    local engine, s = serve [[ reply.raw("HTTP/1.1 200 OK\r\nX-Filler: " .. ("x"):rep(1000000) .. "\r\n\r\n{}") ]]
    local event = engines.ask(engine, engine:route {}, s.url .. "/")
    assert.same({ "too_large", 1, nil }, { event.kind, event.sends, event.message })
  end)

  it("in chunks may end with trailers", function()
    local engine, s = serve [[
      reply.raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        .. "2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n")
    ]]
    local event = engines.ask(engine, engine:route { json = true }, s.url .. "/")
    assert.same({ nil, 200, 1 }, { event.kind, event.status, event.sends })
  end)

  it("that is a failure is kept at its beginning, to say why", function()
    local engine, s = serve [[ reply.send(422, {}, "because " .. ("x"):rep(100000)) ]]
    local event = engines.ask(engine, engine:route { fields = { "status" } }, s.url .. "/")
    assert.same({ "rejected", 422 }, { event.kind, event.status })
    assert.equal("because " .. ("x"):rep(8192 - 8), event.body)
  end)

  local bad = {
    { "HTML with status 200", 'reply.send(200, {}, "<html></html>")', "bad_answer" },
    { "an empty body", 'reply.send(200, {}, "")', "bad_answer" },
    { "no body at all", "reply.send(204)", "bad_answer" },
    { "a JSON array", 'reply.json(200, "[1]")', "bad_answer" },
    { "an object without a status", [[reply.json(200, '{"ok":true}')]], "bad_answer" },
    { "a 200 that says error", [[reply.json(200, '{"status":"error","message":"no"}')]], "backend_error" },
    { "an object that breaks off, all of it delivered", [[reply.json(200, '{"status":"success"')]], "cut_short" },
    { "a redirect, which is not followed", 'reply.send(302, { Location = "/elsewhere" })', "bad_answer" },
    { "what is no HTTP", 'reply.raw("SSH-2.0-OpenSSH\\r\\n") reply.close()', "bad_answer" },
  }
  for _, case in ipairs(bad) do
    it("that is " .. case[1] .. " is called " .. case[3], function()
      local engine, s = serve(case[2], { max_retries = 0 })
      local route = engine:route { fields = { "status", "message" }, status_field = true }
      local event = engines.ask(engine, route, s.url .. "/")
      assert.equal(case[3], event.kind)
      assert.equal(1, s:count())
    end)
  end

  it("that is a redirect tells where to", function()
    local engine, s = serve [[
      local far = "http://other.example/" .. ("x"):rep(5000)
      reply.send(301, { Location = request.path == "/far" and far or request.path == "/near" and "/elsewhere" or nil }, "moved")
    ]]
    local route = engine:route {}
    assert.equal(s.url .. "/elsewhere", engines.ask(engine, route, s.url .. "/near").location)
    assert.matches("^http://other.example/x+$", engines.ask(engine, route, s.url .. "/far").location)
    assert.equal(1024, #engines.ask(engine, route, s.url .. "/far").location)
    assert.is_nil(engines.ask(engine, route, s.url .. "/").location)
  end)

  it("that may be a 404 is one where the route accepts it", function()
    local engine, s = serve "reply.not_indexed()"
    assert.equal("not_found", engines.ask(engine, engine:route {}, s.url .. "/x").kind)
    local event = engines.ask(engine, engine:route { accept = { 404 }, json = true }, s.url .. "/x")
    assert.same({ nil, 404 }, { event.kind, event.status })
  end)

  it("that breaks off is cut short, with libcurl's own words, and tried again", function()
    local engine, s = serve [[
      if request.n < 3 then return reply.cut(300, request.n == 1 and "fin" or "rst") end
      reply.embedding("x", 4)
    ]]
    local event, retries = engines.ask(engine, engine:route { fields = { "status" } }, s.url .. "/?image_id=x")
    assert.same({ nil, 3, 3 }, { event.kind, event.attempts, event.sends })
    assert.equal(2, #retries)
    for _, retry in ipairs(retries) do
      assert.equal("cut_short", retry.kind)
      assert.is_truthy(#retry.message > 0)
    end
  end)

  it("that does not come in time is a timeout", function()
    local engine, s = serve("reply.hang()", { timeout = 0.2, max_retries = 1 })
    local event = engines.ask(engine, engine:route {}, s.url .. "/")
    assert.same({ "timeout", nil, 2, 2 }, { event.kind, event.status, event.attempts, event.sends })
  end)
end)

describe("a request", function()
  it("goes out as its route and its engine say, and with nothing else", function()
    local engine, s = serve('reply.json(200, "{}")', { headers = { "X-Engine: 1", "Authorization: Bearer t" }, user_agent = "revec/x" })
    engines.ask(engine, engine:route { method = "POST", headers = { "X-Route: 2" } }, s.url .. "/a%2Fb/../c?q=%20&r=1")
    engines.ask(engine, engine:route {}, s.url .. "/get")
    engines.ask(engine, engine:route { method = "DELETE" }, s.url .. "/delete")
    local post, get, delete = s:requests()[1], s:requests()[2], s:requests()[3]
    assert.same({ "POST", "/a%2Fb/../c?q=%20&r=1" }, { post.method, post.target })
    assert.same({ "1", "2", "Bearer t", "revec/x", "0" }, { post.headers["x-engine"], post.headers["x-route"],
      post.headers.authorization, post.headers["user-agent"], post.headers["content-length"] })
    assert.is_nil(post.headers.expect)
    assert.same({ "GET", "1" }, { get.method, get.headers["x-engine"] })
    assert.same({ nil, nil }, { get.headers["x-route"], get.headers["content-length"] })
    assert.equal("DELETE", delete.method)
    assert.equal(1, s:connections())
  end)

  it("that libcurl sends again on its own is counted as often as it was sent", function()
    -- The second request on a kept connection is read, and the connection closed without a word.
    local engine, s = serve 'if request.request_on_connection == 2 then reply.close() else reply.json(200, "{}") end'
    local route = engine:route { method = "POST" }
    assert.equal(1, engines.ask(engine, route, s.url .. "/1").sends)
    local event, retries = engines.ask(engine, route, s.url .. "/2")
    assert.same({ nil, 2, 1, 0 }, { event.kind, event.sends, event.attempts, #retries })
    assert.equal(2, s:count("^POST /2"))
    assert.equal(3, engine:stats().sends)
    assert.equal(3, engine:close())
  end)

  it("does not go out on a connection that was idle for four seconds", function()
    local engine, s = serve 'reply.json(200, "{}")'
    local route = engine:route {}
    engines.ask(engine, route, s.url .. "/")
    local due = socket.gettime() + 4.05
    engines.ask(engine, route, s.url .. "/")
    socket.sleep(due - socket.gettime())
    engines.ask(engine, route, s.url .. "/")
    assert.equal(2, s:connections())
  end)

  it("is not sent more than twice in one attempt", function()
    local engine, s = serve([[
      if request.path == "/warm" then reply.sleep(0.2) return reply.json(200, "{}") end
      if request.request_on_connection > 1 then reply.reset() else reply.json(200, "{}") end
    ]], { max_concurrent = 4 })
    local route = engine:route {}
    engines.ask(engine, route, s.url .. "/first")
    for i = 1, 4 do engine:submit(route, s.url .. "/warm", i) end
    engines.collect(engine, 4)
    local warm = s:count()
    local event, retries = engines.ask(engine, route, s.url .. "/x")
    assert.is_nil(event.kind)
    assert.equal(s:count("/x"), event.sends)
    assert.is_true(event.sends <= 2 * event.attempts and event.sends > event.attempts)
    for _, retry in ipairs(retries) do assert.equal("cut_short", retry.kind) end
    assert.equal(warm + event.sends, engine:stats().sends)
  end)

  it("does not give up falsely after many re-sends over its handle's life", function()
    local engine, s = serve('if request.request_on_connection == 2 then reply.close() else reply.json(200, "{}") end',
      { max_concurrent = 1, max_retries = 0 })
    local route = engine:route {}
    for i = 1, 20 do assert.is_nil(engines.ask(engine, route, s.url .. "/" .. i).kind) end
    assert.equal(s:count(), engine:close())
  end)
end)

describe("Retry-After", function()
  -- The wait that a 500 with these headers brings about.
  local function wait_after(headers)
    local engine, s = serve(([[
      if request.n > 1 then return reply.json(200, "{}") end
      reply.raw("HTTP/1.1 500 Oh\r\n%sContent-Length: 0\r\n\r\n")
    ]]):format(headers))
    engine:submit(engine:route {}, s.url .. "/", 1)
    local events
    engines.await(engine, function()
      events = engine:poll()
      return events[1] ~= nil
    end)
    engine:close()
    return events[1].retry_in
  end

  it("of several is the longest", function()
    assert.equal(5, wait_after("Retry-After: 2\\r\\nretry-after:5\\r\\nRetry-After: abc\\r\\n"))
  end)

  it("of several dates is the latest", function()
    local date, wait = "Date: Sun, 06 Nov 1994 08:49:37 GMT\\r\\n", "Retry-After: Sun, 06 Nov 1994 08:%s GMT\\r\\n"
    assert.equal(60, wait_after(date .. wait:format("50:37") .. wait:format("49:47") .. "Retry-After: abc\\r\\n"))
  end)

  it("that is a date is measured by the server's clock, wherever that stands", function()
    local date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\\r\\n"
    local wait = "Retry-After: Sun, 06 Nov 1994 08:49:47 GMT\\r\\n"
    assert.equal(10, wait_after(date .. wait))
    assert.equal(10, wait_after(wait .. date))
  end)
end)

describe("a proxy that libcurl cannot use", function()
  it("is told without its password", function()
    for _, proxy in ipairs { "ftp://me:hunter2@h:1", "http://me:hunter2@h:99999" } do
      local engine = engines.new({ url = "http://127.0.0.1:1" }, { proxy = proxy })
      engine:submit(engine:route {}, "http://127.0.0.1:1/", "item")
      engines.await(engine, function() return engine:stats().reason end)
      assert.is_nil(engine:stats().reason:find("hunter2", 1, true), engine:stats().reason)
    end
  end)
end)
