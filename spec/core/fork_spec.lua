-- A process that forks while an engine works: the engine goes on in the parent and refuses in the child.

require("spec.support.paths")
local core = require("revec.core")
local describe_image = require("revec.describe")
local internals = require("revec.internals")
local census = require("spec.support.census")
local engines = require("spec.support.engines")
local server = require("spec.support.server")

local ok_server, before

setup(function()
  -- With the first thread of all a sanitizer may start one of its own, which stays.
  assert(core.engine { probe_url = "http://127.0.0.1:1/" }):close()
  ok_server = server.start [[
    return function(request, reply)
      if request.path == "/slow" then reply.sleep(0.1) end
      reply.json(200, '{"path":"' .. request.target .. '"}')
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

local function opened()
  local engine = engines.new(ok_server)
  return engine, engine:route { fields = { "path" } }
end

-- What it raises, without the place in the spec that it names.
local function raised(f, ...)
  local ok, why = pcall(f, ...)
  assert(not ok, "no error was raised")
  return (why:gsub("^[^:]*:%d+: ", ""))
end

local function preloaded(library)
  return (os.getenv("LD_PRELOAD") or ""):find(library, 1, true) ~= nil
end

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
    if preloaded("libtsan") then
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

  it("leaves a child workers that refuse, and the parent ones that work", function()
    if preloaded("libasan") or preloaded("libtsan") then
      pending("a sanitizer's allocator may stay locked for ever in a forked process")
    end
    local engine = opened()
    local workers = assert(core.workers { beside = engine, task = describe_image.task, threads = 2 })
    local left = 200
    for i = 1, left do
      workers:submit("README.md", i)
      if i % 20 == 0 then
        assert.same({ "exit", 0 }, in_child(function()
          for _, method in ipairs { "poll", "drain", "submit" } do
            local why = raised(workers[method], workers, "README.md", 1)
            assert(why:find("workers: made before a fork: their threads run in the parent only", 1, true), why)
          end
          local why = raised(core.workers, { beside = engine, task = describe_image.task })
          assert(why:find("engine: made before a fork", 1, true), why)
          assert(workers:close() == 0)
          assert(raised(workers.poll, workers) == "workers: closed")
          engine:close()
        end))
      end
    end
    while left > 0 do
      assert.is_true(engine:wait(20))
      engine:poll()
      for _, event in ipairs(workers:poll()) do
        assert.equal("bad_image", event.kind)
        left = left - 1
      end
    end
    workers:close()
  end)

  it("may come at any moment of the engine's and the walk's work", function()
    if preloaded("libasan") or preloaded("libtsan") then
      pending("a sanitizer's allocator may stay locked for ever in a forked process")
    end
    for round = 1, 5 do
      local engine, route = opened()
      for i = 1, 20 do engine:submit(route, url("/" .. i), i) end
      assert(engine:walk { root = "/usr", extensions = { "png", "lua", "h", "so", "gz", "py" } })
      for fork = 1, 20 do
        for _ = 1, 50 do engine:next() end -- so that the walk has something to do
        local until_ = core.now() + (round * 20 + fork) % 17 * 1e-4
        while core.now() < until_ do end -- luacheck: ignore
        assert.same({ "exit", 0 }, in_child(function() engine:close() end))
      end
      engine:close()
    end
  end)
end)
