-- Many requests and a server that fails, throttles, dies and returns: what is tried again, what is given back.

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

local function serve(body, options, server_options)
  local s = server.start("return function(request, reply) " .. body .. " end", server_options)
  local engine = engines.new(s, options)
  return engine, s, engine:route {}
end

local function count_kinds(events)
  local kinds = {}
  for _, event in ipairs(events) do
    local kind = event.kind or "ok"
    kinds[kind] = (kinds[kind] or 0) + 1
  end
  return kinds
end

-- Of the first 280 sends, all of them while there is new work, a fifth were retries, 50 more, and what was in flight.
local function within_budget(s)
  local again, seen = 0, {}
  for n, request in ipairs(s:requests()) do
    if n > 280 then break end
    if seen[request.target] then again = again + 1 end
    seen[request.target] = true
  end
  assert.is_true(again <= 50 + 280 / 5 + 8, again)
end

describe("a retry", function()
  it("follows a failure that may pass, as often as allowed, and is told of", function()
    local engine, s, route = serve('if request.n < 3 then reply.json(503, "later") else reply.json(200, "{}") end')
    local event, retries = engines.ask(engine, route, s.url .. "/", "it")
    assert.same({ nil, 200, 3, 3 }, { event.kind, event.status, event.attempts, event.sends })
    assert.equal(2, #retries)
    for i, retry in ipairs(retries) do
      assert.same({ "it", "overloaded", 503, i, i, "later" },
        { retry.item, retry.kind, retry.status, retry.attempts, retry.sends, retry.body })
      assert.is_true(retry.retry_in >= 0 and retry.retry_in <= 0.01 * 2 ^ (i - 1))
    end
    assert.equal(2, engine:stats().retries)
  end)

  it("ends after max_retries, with the last failure", function()
    for max_retries = 0, 3 do
      local engine, s, route = serve('reply.json(500, "oh")', { max_retries = max_retries })
      local event, retries = engines.ask(engine, route, s.url .. "/")
      assert.same({ "backend_error", 500, "oh", max_retries + 1, max_retries + 1 },
        { event.kind, event.status, event.body, event.attempts, event.sends })
      assert.same({ max_retries, max_retries + 1 }, { #retries, s:count() })
    end
  end)

  it("lets new requests go first once a fifth of the sends were retries", function()
    local engine, s, route = serve('reply.json(500, "oh")', { max_concurrent = 8, max_retries = 1, retry_delay = 0 })
    for i = 1, 300 do engine:submit(route, s.url .. "/" .. i, i) end
    local events = engines.collect(engine, 300)
    assert.same({ backend_error = 300 }, count_kinds(events))
    assert.equal(600, s:count())
    within_budget(s)
  end)
end)

describe("a retry of what may have been done", function()
  it("counts as one, and so does asking about it", function()
    local engine, s = serve([[
      if request.method == "POST" then return reply.cut(300, "fin") end
      reply.not_indexed()
    ]], { max_concurrent = 8, max_retries = 1, retry_delay = 0 })
    local post, ask = engine:route { method = "POST", json = true }, engine:route { accept = { 404 } }
    for i = 1, 200 do engine:submit(post, s.url .. "/?image_id=" .. i, i, false, ask, s.url .. "/?image_id=" .. i) end
    assert.same({ cut_short = 200 }, count_kinds((engines.collect(engine, 200))))
    within_budget(s)
  end)

  it("waits no longer for the times that it was throttled", function()
    local engine, s, route = serve([[
      if request.n <= 4 then return reply.json(429, "slow down") end
      if request.n == 5 then return reply.json(503, "later") end
      reply.json(200, "{}")
    ]], { retry_delay = 0.02 })
    local _, retries = engines.ask(engine, route, s.url .. "/")
    assert.equal(5, #retries)
    assert.is_true(retries[5].retry_in <= 0.02, retries[5].retry_in)
  end)
end)

describe("throttling", function()
  it("holds all requests for as long as asked, and uses up no attempt", function()
    local engine, s, route = serve([[
      if request.n <= 3 then return reply.json(429, "slow down", { ["Retry-After"] = "1" }) end
      reply.json(200, "{}")
    ]], { max_concurrent = 3, max_retries = 0 })
    for i = 1, 10 do engine:submit(route, s.url .. "/" .. i, i) end
    local events, retries = engines.collect(engine, 10)
    assert.same({ ok = 10 }, count_kinds(events))
    for _, event in ipairs(events) do assert.equal(1, event.attempts) end
    for _, retry in ipairs(retries) do assert.same({ "rate_limited", 429 }, { retry.kind, retry.status }) end
    local stats = engine:stats()
    assert.same({ #retries, 10 + #retries }, { stats.throttled, s:count() })
    local requests, held = s:requests(), 0
    for n = 2, #requests do
      local pause = requests[n].time - requests[n - 1].time
      assert.is_true(pause < 0.5 or pause >= 1 - 0.01)
      if pause >= 0.5 then held = held + 1 end
    end
    assert.is_true(held >= 1)
  end)

  it("only lowers how many are in flight, under adaptive, where no time is asked for", function()
    local engine, s, route = serve([[
      state.busy = (state.busy or 0) + 1
      if state.busy > 4 then reply.json(429, "no") else reply.sleep(0.02) reply.json(200, "{}") end
      state.busy = state.busy - 1
    ]], { max_concurrent = 64, adaptive = true, max_retries = 0 })
    assert.equal(2, engine:stats().limit)
    for i = 1, 100 do engine:submit(route, s.url .. "/" .. i, i) end
    local events, retries = engines.collect(engine, 100)
    assert.same({ ok = 100 }, count_kinds(events))
    local stats = engine:stats()
    assert.is_true(#retries >= 1)
    assert.equal(0, retries[1].retry_in)
    assert.same({ #retries, 100 + #retries }, { stats.throttled, s:count() })
    assert.is_true(stats.limit < 64, stats.limit)
  end)

  it("is asked by one request at a time until something is accepted", function()
    local engine, s, route = serve([[
      if request.n > 5 and request.n < 12 then return reply.json(429, "") end
      reply.sleep(0.02)
      reply.json(200, "{}")
    ]], { max_concurrent = 5 })
    for i = 1, 40 do engine:submit(route, s.url .. "/" .. i, i) end
    assert.same({ ok = 40 }, count_kinds((engines.collect(engine, 40))))
    assert.equal(46, s:count())
    -- Those up to the tenth were on their way when the first was refused.
    for n = 11, 12 do assert.equal(1, s:requests()[n].in_flight) end
  end)

  it("that never ends brings everything back as pending", function()
    local engine, s, route = serve('reply.json(429, "no")', { max_retries = 0, down_timeout = 0.5 })
    for i = 1, 20 do engine:submit(route, s.url .. "/" .. i, i) end
    assert.same({ pending = 20 }, count_kinds((engines.collect(engine, 20))))
    local stats = engine:stats()
    assert.same({ "down", "rate_limited" }, { stats.state, stats.reason })
    assert.is_true(s:count() < 20)
  end)

  it("that never ends and announces no time brings everything back as pending", function()
    local engine, s, route = serve('reply.json(429, "no", { ["Retry-After"] = "0" })', { down_timeout = 0.5 })
    for i = 1, 20 do engine:submit(route, s.url .. "/" .. i, i) end
    local deadline = socket.gettime() + 5
    while engine:stats().state ~= "down" and socket.gettime() < deadline do socket.sleep(0.05) end
    assert.equal("down", engine:stats().state)
    assert.is_true(s:count() < 100, s:count())
  end)
end)

describe("a backend that is not there", function()
  it("at the start is told of at once, and everything comes back", function()
    local dead = socket.bind("127.0.0.1", 0)
    local _, port = dead:getsockname()
    dead:close()
    local engine = engines.new { url = "http://127.0.0.1:" .. port }
    local route = engine:route {}
    for i = 1, 50 do engine:submit(route, ("http://127.0.0.1:%d/%d"):format(port, i), i) end
    local events = engines.collect(engine, 50)
    assert.same({ pending = 50 }, count_kinds(events))
    for _, event in ipairs(events) do assert.equal(0, event.sends) end
    local stats = engine:stats()
    assert.same({ "down", 0 }, { stats.state, stats.sends })
    assert.is_truthy(stats.reason:find("connect to 127.0.0.1", 1, true))
    engine:submit(route, "http://127.0.0.1:" .. port .. "/late", "late")
    local late = engines.collect(engine, 1)[1]
    assert.same({ "late", "pending" }, { late.item, late.kind })
  end)

  it("for a while is waited for, and nothing is lost", function()
    local engine, s, route = serve('reply.sleep(0.01) reply.json(200, "{}")', { max_retries = 5, down_timeout = 30 })
    for i = 1, 200 do engine:submit(route, s.url .. "/" .. i, i) end
    engines.await(engine, function() return engine:stats().sends > 20 end)
    s:kill()
    engines.await(engine, function() return engine:stats().state == "paused" end)
    assert.is_truthy(engine:stats().reason ~= nil)
    s:revive()
    assert.same({ ok = 200 }, count_kinds((engines.collect(engine, 200))))
    assert.equal("running", engine:stats().state)
    assert.is_true(s:count("^GET /health") >= 1)
  end)

  it("for longer than down_timeout is given up, and everything comes back", function()
    local engine, s, route = serve('reply.sleep(0.01) reply.json(200, "{}")', { max_retries = 100, down_timeout = 0.5 })
    for i = 1, 200 do engine:submit(route, s.url .. "/" .. i, i) end
    engines.await(engine, function() return engine:stats().sends > 20 end)
    s:kill()
    local kinds = count_kinds((engines.collect(engine, 200)))
    assert.equal(200, kinds.ok + kinds.pending)
    assert.is_true(kinds.pending > 0)
    assert.equal("down", engine:stats().state)
  end)

  it("that only hangs is probed before it is given up, and gone on with when it is back", function()
    local engine, s, route = serve([[
      if request.path == "/health" then state.back = true end
      if not state.back then return reply.hang() end
      reply.json(200, "{}")
    ]], { max_concurrent = 5, timeout = 0.2, down_timeout = 0.1, max_retries = 5 })
    for i = 1, 20 do engine:submit(route, s.url .. "/" .. i, i) end
    assert.same({ ok = 20 }, count_kinds((engines.collect(engine, 20))))
    assert.equal(1, s:count("/health"))
  end)
end)

describe("drain", function()
  it("gives back what waits, ends what is in flight and starts nothing new", function()
    local engine, s, route = serve('reply.sleep(0.2) reply.json(200, "{}")', { max_concurrent = 2 })
    for i = 1, 20 do engine:submit(route, s.url .. "/" .. i, i) end
    engines.await(engine, function() return s:count() >= 1 end)
    engine:drain()
    engine:submit(route, s.url .. "/late", "late")
    local kinds = count_kinds((engines.collect(engine, 21)))
    assert.equal(21, kinds.ok + kinds.pending)
    assert.equal(s:count(), kinds.ok)
    assert.is_true(kinds.ok >= 1 and kinds.ok <= 2)
    assert.equal(0, s:count("/late"))
  end)

  it("does not try again what fails in flight", function()
    local engine, s, route = serve('reply.sleep(0.2) reply.json(500, "")', { max_concurrent = 1 })
    engine:submit(route, s.url .. "/", 1)
    engines.await(engine, function() return s:count() >= 1 end)
    engine:drain()
    local events, retries = engines.collect(engine, 1)
    assert.same({ "pending", 0, 1 }, { events[1].kind, #retries, s:count() })
  end)

  it("brings back at once what waits for another try", function()
    local engine, s, route = serve('reply.json(500, "", { ["Retry-After"] = "3600" })')
    for i = 1, 5 do engine:submit(route, s.url .. "/" .. i, i) end
    engines.await(engine, function() return engine:stats().waiting == 5 end)
    engine:drain()
    assert.same({ pending = 5 }, count_kinds((engines.collect(engine, 5))))
  end)
end)

describe("the requests in flight", function()
  it("are never more than max_concurrent, and one until there is a connection", function()
    local engine, s, route = serve('reply.sleep(0.01) reply.json(200, "{}")', { max_concurrent = 7 })
    for i = 1, 100 do engine:submit(route, s.url .. "/" .. i, i) end
    engines.collect(engine, 100)
    local most = 0
    for _, request in ipairs(s:requests()) do most = math.max(most, request.in_flight) end
    assert.equal(7, most)
    assert.is_true(s:connections() <= 7)
  end)

  it("start no faster than the rate", function()
    local engine, s, route = serve('reply.json(200, "{}")', { max_concurrent = 10, rate = 50 })
    for i = 1, 30 do engine:submit(route, s.url .. "/" .. i, i) end
    engines.collect(engine, 30)
    local requests = s:requests()
    -- At most a tenth of a second's worth comes before its time.
    assert.is_true(requests[30].time - requests[1].time >= 29 / 50 - 0.1 - 0.05)
  end)

  it("are all counted: those of the engine are those that the server saw", function()
    local engine, s, route = serve([[
      if request.n % 7 == 0 then return reply.close() end
      if request.n % 11 == 0 then return reply.reset() end
      if request.n % 5 == 0 then return reply.json(500, "") end
      reply.json(200, "{}")
    ]], { max_concurrent = 8, max_retries = 10 })
    for i = 1, 300 do engine:submit(route, s.url .. "/" .. i, i) end
    local events, sends = engines.collect(engine, 300), 0
    assert.same({ ok = 300 }, count_kinds(events))
    for _, event in ipairs(events) do sends = sends + event.sends end
    assert.same({ s:count(), s:count() }, { sends, engine:close() })
  end)
end)
