-- The engine as a Lua program meets it: its methods, its descriptor, its end.

require("spec.support.paths")
local core = require("revec.core")
local internals = require("revec.internals")
local lfs = require("lfs")
local socket = require("socket")
local unix = require("socket.unix")
local census = require("spec.support.census")
local engines = require("spec.support.engines")
local server = require("spec.support.server")
local storages = require("spec.support.storages")

local ok_server, before

setup(function()
  -- With the first thread of all a sanitizer may start one of its own, which stays.
  assert(core.engine { probe_url = "http://127.0.0.1:1/" }):close()
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

  it("tells how long the last attempt took", function()
    local engine, route = opened()
    local event = engines.ask(engine, route, url("/slow"))
    assert.is_true(event.seconds >= 0.1 and event.seconds < 20)
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

  it("goes on when another library of the process cleans libcurl up, and once more than it may", function()
    local engine, route = opened()
    for i = 1, 8 do engine:submit(route, url(i % 2 == 0 and "/slow" or "/"), i) end
    for _ = 1, 3 do internals.curl_cleanup() end
    for _, event in ipairs((engines.collect(engine, 8))) do assert.is_nil(event.kind) end
    local next_engine, next_route = opened()
    internals.curl_cleanup()
    assert.is_nil(engines.ask(next_engine, next_route, url("/")).kind)
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

describe("its threads", function()
  after_each(storages.remove_all)

  local function priorities()
    local list = {}
    for task in lfs.dir("/proc/self/task") do
      local file = io.open("/proc/self/task/" .. task .. "/stat")
      if file then
        -- After the name, which may hold blanks, niceness is the 17th field.
        list[#list + 1] = tonumber(file:read("*a"):match("%) (.*)"):match("^" .. ("%S+ "):rep(16) .. "(%-?%d+)"))
        file:close()
      end
    end
    table.sort(list)
    return list
  end

  it("give way as far as they are told to, and leave the host's alone", function()
    local usual = priorities()[1]
    local engine = opened { nice = 17 }
    -- More than the walk's queue holds, so that its thread is still there.
    local names = {}
    for i = 1, 5000 do names[i] = i .. ".jpg" end
    engine:walk { root = storages.of(names), extensions = { "jpg" } }
    engines.await(engine, function()
      local list = priorities()
      return #list >= 3 and list[1] == usual and list[#list] == 17 and list[#list - 1] == 17
    end)
  end)
end)

describe("its doorbell", function()
  local dir, path, client

  before_each(function()
    dir = storages.empty()
    path = dir .. "/bell"
  end)

  after_each(function()
    if client then client:close() end
    client = nil
    storages.remove_all()
  end)

  local function connect()
    client = unix()
    assert(client:connect(path))
    client:settimeout(20)
  end

  it("sends a byte to the one that connected whenever the descriptor becomes readable", function()
    local engine, route = opened()
    assert.is_true(engine:doorbell(path))
    connect()
    engine:poll()
    for i = 1, 3 do
      engine:submit(route, url("/" .. i), i)
      repeat assert.equal("\0", client:receive(1)) until #engine:poll() > 0
    end
    engine:wake()
    assert.equal("\0", client:receive(1))
    assert.is_true(readable(engine))
    assert.has_error(function() engine:doorbell(path) end, "doorbell: the engine has one already")
  end)

  it("is rung by an engine beside its own, too", function()
    local engine = opened()
    local second = engines.new(ok_server, { beside = engine })
    local route = second:route { fields = { "path" } }
    assert.is_true(engine:doorbell(path))
    connect()
    engine:poll()
    second:submit(route, url("/"), "item")
    repeat
      assert.equal("\0", client:receive(1))
      engine:poll()
    until #second:poll() > 0
    assert.has_error(function() second:doorbell(dir .. "/other") end, "doorbell: the engine has one already")
  end)

  it("rings on, and raises no signal, when the one that connected is gone or reads nothing", function()
    local engine, route = opened()
    assert.is_true(engine:doorbell(path))
    connect()
    for _ = 1, 2000 do engine:wake() end
    engine:poll()
    for _ = 1, 2000 do engine:wake() end
    client:close()
    assert.equal("/1", engines.ask(engine, route, url("/1")).fields.path)
  end)

  it("is for this user alone, and tells why it cannot be made", function()
    local engine = opened()
    local failed, why = engine:doorbell(dir .. "/none/bell")
    assert.is_nil(failed)
    assert.equal(dir .. "/none/bell: No such file or directory", why)
    assert.matches("File name too long$", (select(2, engine:doorbell(dir .. "/" .. ("x"):rep(200)))))
    assert.is_true(engine:doorbell(path))
    assert.equal("rw-------", lfs.attributes(path, "permissions"))
    assert.matches("Address already in use$", (select(2, opened():doorbell(path))))
  end)
end)

describe("a closed engine", function()
  it("says so to whoever still uses it, and may be closed again", function()
    local engine, route = opened()
    engines.ask(engine, route, url("/"))
    assert.equal(1, engine:close())
    assert.equal(0, engine:close())
    for _, method in ipairs { "poll", "room", "drain", "stats", "fd", "wake", "route", "submit", "wait", "walk", "next", "total" } do
      local ok, why = pcall(engine[method], engine, {})
      assert.is_false(ok)
      assert.is_truthy(why:find("engine: closed", 1, true))
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

  describe("beside another", function()
    it("rings that one's bell for its own events, which only the other silences", function()
      local first, route = opened()
      local second = engines.new(ok_server, { beside = first })
      local second_route = second:route { fields = { "path" } }
      assert.equal(first:fd(), second:fd())
      first:poll()
      second:submit(second_route, url("/slow"), "second")
      assert.is_true(first:wait(20))
      assert.is_true(readable(first))
      assert.equal("second", second:poll()[1].item)
      assert.is_true(readable(first))
      assert.same({}, first:poll())
      assert.is_false(readable(first))
      -- In whatever order the answers come while they are taken, none is left behind a silent bell.
      local left = 400
      for i = 1, left / 2 do
        first:submit(route, url("/" .. i), i)
        second:submit(second_route, url("/" .. i), i)
      end
      while left > 0 do
        assert.is_true(first:wait(20))
        for _, events in ipairs { first:poll(7), second:poll(7) } do left = left - #events end
      end
    end)

    it("may outlive it", function()
      local first = opened()
      local second = engines.new(ok_server, { beside = first })
      local route = second:route { fields = { "path" } }
      second:submit(route, url("/slow"), "item")
      first:close()
      assert.equal("item", engines.collect(second, 1)[1].item)
      assert.has_error(function() core.engine { probe_url = "http://localhost", beside = first } end, "engine: closed")
      second:close()
    end)

    it("may be closed in any order with it", function()
      for _, order in ipairs { { 1, 2, 3 }, { 1, 3, 2 }, { 2, 1, 3 }, { 2, 3, 1 }, { 3, 1, 2 }, { 3, 2, 1 } } do
        local all = { engines.new(ok_server) }
        for i = 2, 3 do all[i] = engines.new(ok_server, { beside = all[i - 1] }) end
        for i = 1, 3 do all[i]:submit(all[i]:route {}, url("/hang"), i) end
        for i, closed in ipairs(order) do
          all[closed]:close()
          for later = i + 1, 3 do
            all[order[later]]:wake()
            assert.is_true(all[order[later]]:wait(0))
          end
        end
        assert.same(before, census.take(before))
      end
    end)
  end)
end)
