-- The engine as a Lua program meets it: its methods, their arguments, its life among collectors, forks and descriptors.

require("spec.support.paths")
local core = require("revec.core")
local internals = require("revec.internals")
local socket = require("socket")
local census = require("spec.support.census")
local engines = require("spec.support.engines")
local server = require("spec.support.server")

local ok_server, before

setup(function()
  ok_server = server.start [[
    return function(request, reply)
      if request.path == "/hang" then return reply.hang() end
      if request.path == "/slow" then reply.sleep(0.1) end
      reply.json(200, '{"status":"success","path":"' .. request.target .. '"}')
    end
  ]]
end)

teardown(function() server.stop_all() end)

before_each(function() before = census.take() end)

after_each(function()
  engines.close_all()
  assert.same(before, census.take(before))
end)

local function url(path) return ok_server.url .. path end

local function opened(options)
  local engine = engines.new(ok_server, options)
  return engine, engine:route { fields = { "path" } }
end

-- What it raises, without the place in the spec that it names.
local function raised(f, ...)
  local ok, why = pcall(f, ...)
  assert.is_false(ok, "no error was raised")
  return (why:gsub("^[^:]*:%d+: ", ""))
end

local function readable(engine)
  local fd = engine:fd()
  local ready = socket.select({ { getfd = function() return fd end, dirty = function() return false end } }, nil, 0)
  return #ready == 1
end

describe("an engine", function()
  it("gives every answer back with the very item that was submitted", function()
    local engine, route = opened { max_concurrent = 4 }
    local items = { "text", 7, true, {}, function() end, io.stdout, engine }
    local waiting = {}
    for i, item in ipairs(items) do
      waiting[item] = "/" .. i
      engine:submit(route, url("/" .. i), item)
    end
    for _, event in ipairs((engines.collect(engine, #items))) do
      assert.equal(waiting[event.item], event.fields.path)
      assert.same({ 200, 1, 1 }, { event.status, event.attempts, event.sends })
      assert.is_nil(event.kind)
      waiting[event.item] = nil
    end
    assert.is_nil(next(waiting))
  end)

  it("may be given the same item many times", function()
    local engine, route = opened()
    for i = 1, 20 do engine:submit(route, url("/" .. i), "same") end
    for _, event in ipairs((engines.collect(engine, 20))) do assert.equal("same", event.item) end
  end)

  it("answers in the order of submission when one request goes at a time, urgent ones first", function()
    local engine, route = opened { max_concurrent = 1 }
    engine:submit(route, url("/slow"), "first")
    engines.await(engine, function() return engine:stats().active == 1 end)
    for i = 1, 9 do engine:submit(route, url("/" .. i), i, i % 3 == 0) end
    local order = {}
    for i, event in ipairs((engines.collect(engine, 10))) do order[i] = event.item end
    assert.same({ "first", 3, 6, 9, 1, 2, 4, 5, 7, 8 }, order)
  end)

  it("lets go of an item once it is answered", function()
    local engine, route = opened()
    local weak = setmetatable({}, { __mode = "k" })
    local item = {}
    weak[item] = true
    engines.ask(engine, route, url("/"), item)
    item = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("keeps an item as long as it is in flight", function()
    local engine, route = opened()
    engine:submit(route, url("/slow"), { name = "kept" })
    collectgarbage()
    collectgarbage()
    assert.equal("kept", engines.collect(engine, 1)[1].item.name)
  end)

  it("hands out no more events at once than asked for, and loses none", function()
    local engine, route = opened()
    for i = 1, 10 do engine:submit(route, url("/" .. i), i) end
    engines.await(engine, function() return engine:stats().sends == 10 and engine:stats().active == 0 end)
    local seen, polls = 0, 0
    while seen < 10 do
      assert.is_true(engine:wait(10))
      local events = engine:poll(3)
      assert.is_true(#events <= 3)
      seen, polls = seen + #events, polls + 1
    end
    assert.is_true(polls >= 4)
    assert.same({}, engine:poll())
  end)

  it("wants few requests ahead, and more when some are done", function()
    local engine, route = opened { max_concurrent = 2 }
    assert.is_true(engine:room() >= 2)
    local submitted = 0
    while engine:room() > 0 do
      submitted = submitted + 1
      engine:submit(route, url("/slow"), submitted)
      assert.is_true(submitted < 100)
    end
    engines.collect(engine, submitted)
    engines.await(engine, function() return engine:room() >= 2 end)
  end)

  it("works beside another one", function()
    local a, route_a = opened()
    local b, route_b = opened()
    for i = 1, 10 do
      a:submit(route_a, url("/a" .. i), "a" .. i)
      b:submit(route_b, url("/b" .. i), "b" .. i)
    end
    for engine, name in pairs { [a] = "a", [b] = "b" } do
      for _, event in ipairs((engines.collect(engine, 10))) do
        assert.equal("/" .. event.item, event.fields.path)
        assert.equal(name, event.item:sub(1, 1))
      end
    end
    a:close()
    assert.equal("/after", engines.ask(b, route_b, url("/after")).fields.path)
  end)

  it("shows what it is and whether it is open", function()
    local engine = opened()
    assert.is_truthy(tostring(engine):find("^revec%.engine: .*%(open%)$"))
    engine:close()
    assert.is_truthy(tostring(engine):find("%(closed%)$"))
    assert.equal("revec.engine", getmetatable(engine))
  end)
end)

describe("its descriptor", function()
  it("is readable when there are events, and quiet when they were taken", function()
    local engine, route = opened()
    engines.ask(engine, route, url("/")) -- from here on its state stays the same
    for _ = 1, 5 do
      engine:poll()
      assert.is_false(readable(engine))
      assert.is_false(engine:wait(0))
      engine:submit(route, url("/slow"), 1)
      assert.is_false(readable(engine))
      assert.is_true(engine:wait(20))
      assert.is_true(readable(engine))
      assert.equal(1, #engine:poll())
      assert.is_false(readable(engine))
    end
  end)

  it("stays readable while events are left, and no longer", function()
    local engine, route = opened { max_concurrent = 1 }
    engines.ask(engine, route, url("/"))
    engine:poll()
    for i = 1, 3 do engine:submit(route, url("/" .. i), i) end
    engines.await(engine, function() return engine:stats().sends == 4 and engine:stats().active == 0 end)
    socket.sleep(0.1)
    assert.equal(1, #engine:poll(1))
    assert.is_true(readable(engine))
    assert.equal(1, #engine:poll(1))
    assert.is_true(readable(engine))
    assert.equal(1, #engine:poll(1))
    assert.is_false(readable(engine))
  end)

  it("is rung by wake", function()
    local engine = opened()
    engine:poll()
    engine:wake()
    assert.is_true(engine:wait(20))
    engine:poll()
    assert.is_false(engine:wait(0))
  end)
end)

describe("its arguments", function()
  local valid = { probe_url = "http://127.0.0.1:1/" }
  local function with(name, value)
    local options = { probe_url = valid.probe_url }
    options[name] = value
    return options
  end

  it("are named when they are wrong", function()
    local cases = {
      { "max_concurrent", 0, "max_concurrent: integer 1..1024 expected, got 0" },
      { "max_concurrent", 1025, "max_concurrent: integer 1..1024 expected, got 1025" },
      { "max_concurrent", "5", "max_concurrent: integer 1..1024 expected, got string" },
      { "max_concurrent", 1.5, "max_concurrent: integer 1..1024 expected, got 1.5" },
      { "max_concurrent", {}, "max_concurrent: integer 1..1024 expected, got table" },
      { "max_concurrent", false, "max_concurrent: integer 1..1024 expected, got boolean" },
      { "max_retries", -1, "max_retries: integer 0..1000 expected, got -1" },
      { "max_retries", 2 ^ 53, "max_retries: integer 0..1000 expected, got" },
      { "max_retries", 0 / 0, "max_retries: integer 0..1000 expected, got" },
      { "retry_delay", -1, "retry_delay: number 0..3600 expected, got -1" },
      { "retry_delay", 1 / 0, "retry_delay: number 0..3600 expected, got inf" },
      { "retry_delay", "1", "retry_delay: number 0..3600 expected, got string" },
      { "timeout", 0, "timeout: number 0.001..86400 expected, got 0" },
      { "rate", -1, "rate: number 0..1000000 expected, got -1" },
      { "user_agent", 5, "user_agent: string without NUL bytes expected, got number" },
      { "user_agent", "a\0b", "user_agent: string without NUL bytes expected" },
      { "headers", { 1 }, "headers: array of strings expected" },
      { "headers", { "a\0b" }, "headers: array of strings expected" },
      { "headers", "X: y", "headers: array of strings expected" },
      { "probe_url", 5, "probe_url: string without NUL bytes expected, got number" },
    }
    local wrong = {}
    for _, case in ipairs(cases) do
      local why = raised(core.engine, with(case[1], case[2]))
      if why:sub(1, #case[3]) ~= case[3] then wrong[#wrong + 1] = why .. " -- expected: " .. case[3] end
    end
    assert.same({}, wrong)
    assert.equal("probe_url: string expected", raised(core.engine, {}))
    assert.has_error(function() core.engine() end)
    assert.has_error(function() core.engine("http://127.0.0.1/") end)
  end)

  it("are named when those of a route are wrong", function()
    local engine = opened()
    local nine = { "1", "2", "3", "4", "5", "6", "7", "8", "9" }
    local cases = {
      { { fields = nine }, "fields: at most 8 names, got 9" }, { { fields = { {} } }, "fields: array of strings expected" },
      { { fields = "path" }, "fields: array of strings expected" }, { { max_bytes = 0 }, "max_bytes: integer 1.." },
      { { accept = { 99 } }, "accept: integer 100..599 expected, got 99" }, { { accept = { "404" } }, "accept: integer 100..599" },
      { { method = {} }, "method: string without NUL bytes expected, got table" },
    }
    local wrong = {}
    for _, case in ipairs(cases) do
      local why = raised(engine.route, engine, case[1])
      if why:sub(1, #case[2]) ~= case[2] then wrong[#wrong + 1] = why .. " -- expected: " .. case[2] end
    end
    assert.same({}, wrong)
    assert.has_error(function() engine:route() end)
    assert.is_truthy(raised(function() for _ = 1, 40 do engine:route {} end end):find("route: at most 32", 1, true))
  end)

  it("are checked by every method", function()
    local engine, route = opened()
    for _, wrong in ipairs { 0, route + 1, "1", 1.5, {} } do
      assert.is_truthy(raised(engine.submit, engine, wrong, url("/"), 1):find("^route: integer 1"))
    end
    assert.has_error(function() engine:submit(route, nil, 1) end)
    assert.is_truthy(raised(engine.submit, engine, route, url("/")):find("an item is needed", 1, true))
    assert.is_truthy(raised(engine.wait, engine, -1):find("^seconds: number"))
    assert.is_truthy(raised(engine.poll, engine, 0):find("^most: integer"))
    for _, method in ipairs { "poll", "submit", "close", "stats", "fd" } do
      assert.has_error(function() engine[method]() end)
      assert.has_error(function() engine[method](io.stdout) end)
    end
  end)
end)

describe("a closed engine", function()
  it("says so to whoever still uses it, and may be closed again", function()
    local engine, route = opened()
    engines.ask(engine, route, url("/"))
    assert.equal(1, engine:close())
    assert.equal(0, engine:close())
    for _, method in ipairs { "poll", "room", "drain", "stats", "fd", "wake", "route", "submit", "wait", "walk", "next", "total" } do
      assert.equal("engine: closed", raised(engine[method], engine, {}))
    end
  end)

  it("leaves no thread and no descriptor, in flight or not, walking or not", function()
    for round = 1, 10 do
      local engine, route = opened()
      if round % 2 == 0 then
        for i = 1, 10 do engine:submit(route, url("/hang"), i) end
        engines.await(engine, function() return engine:stats().active > 0 end)
      end
      if round % 3 == 0 then assert(engine:walk { root = ".", extensions = { "c" } }) end
      assert.not_same(before, census.take())
      engine:close()
      assert.same(before, census.take(before))
    end
  end)

  it("is what a collected one becomes, whatever it was doing", function()
    for round = 1, 5 do
      local engine = assert(core.engine { probe_url = url("/health") })
      local route = engine:route {}
      for i = 1, 20 do engine:submit(route, url(round % 2 == 0 and "/hang" or "/"), { engine, i }) end
      if round > 2 then engine:wait(0.05) end
      engine = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      assert.same(before, census.take(before))
    end
  end)
end)

describe("a fork", function()
  -- Runs f in a child; how that ended. A child that raises says what.
  local function in_child(f)
    local child = internals.fork()
    if child == 0 then
      local ok, why = pcall(f)
      if not ok then io.stderr:write(tostring(why), "\n") end
      internals.exit(ok and 0 or 1)
    end
    return { internals.wait(child) }
  end

  it("leaves a child an engine that refuses, and the parent one that works", function()
    local engine, route = opened()
    engines.ask(engine, route, url("/"))
    engine:submit(route, url("/slow"), "in flight")
    assert(engine:walk { root = ".", extensions = { "c" } })
    assert.same({ "exit", 0 }, in_child(function()
      for _, method in ipairs { "poll", "room", "drain", "stats", "fd", "wake", "route", "submit", "wait", "next" } do
        local why = raised(engine[method], engine, 1)
        assert(why:find("engine: made before a fork: its threads run in the parent only", 1, true), why)
      end
      assert(engine:close() == 0)
      assert(raised(engine.poll, engine) == "engine: closed")
    end))
    assert.equal("in flight", engines.collect(engine, 1)[1].item)
    assert.equal("/after", engines.ask(engine, route, url("/after")).fields.path)
  end)

  it("lets the child make an engine of its own", function()
    if (os.getenv("LD_PRELOAD") or ""):find("libtsan", 1, true) then
      pending("ThreadSanitizer starts no threads in a process forked from one with threads")
    end
    local parents = opened()
    assert.same({ "exit", 0 }, in_child(function()
      local engine, route = opened()
      assert(engines.ask(engine, route, url("/child")).fields.path == "/child")
      assert(engine:close() == 1)
      engine, parents = nil, nil -- luacheck: ignore
      collectgarbage()
    end))
    assert.equal("starting", parents:stats().state)
  end)

  it("may come at any moment of the engine's and the walk's work", function()
    for _ = 1, 25 do
      local engine, route = opened()
      for i = 1, 20 do engine:submit(route, url("/" .. i), i) end
      assert(engine:walk { root = "/usr/share", extensions = { "png", "lua" } })
      engine:wait(0.002)
      assert.same({ "exit", 0 }, in_child(function() engine:close() end))
      engine:close()
    end
  end)
end)
