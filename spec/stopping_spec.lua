-- Signals and other ends of the command.
local harness = require "spec.support.harness"
local server = require "spec.support.server"

local names = {}
for i = 1, 40 do names[i] = string.format("%02d.jpg", i) end

describe("the command, interrupted", function()
  local s
  after_each(function()
    if s then s:stop() end
    s = nil
    harness.cleanup()
  end)

  local function start(handler, args)
    s = server.start("return function(request, reply)\n" .. handler .. "\nend")
    local all = { "--storage-path", harness.tree(names), "--api-url", s.url, "--no-skip-indexed", "--max-concurrent", "2" }
    for _, argument in ipairs(args or {}) do all[#all + 1] = argument end
    return harness.spawn { args = all, env = { LC_ALL = "C" } }
  end

  local function number(result, name) return tonumber(result.stderr:match("INFO %- " .. name .. ": (%d+)\n")) end

  for signal, code in pairs { INT = 130, TERM = 143, HUP = 129 } do
    it("by SIG" .. signal .. " lets what is in flight end and exits with " .. code, function()
      local run = start("reply.sleep(0.1) if request.id == '01' then return reply.json(400, '{}') end reply.embedding(request.id)")
      run:wait_for("Succeeded: 02", 10)
      run:signal(signal)
      local result = run:wait(10)
      assert.equal(code, result.code, result.output)
      assert.matches("WARNING %- SIG" .. signal .. " received", result.stderr)
      local done, failed, pending = number(result, "Succeeded"), number(result, "Failed"), number(result, "Pending")
      assert.equal(40, done + failed + pending)
      assert.equal(1, failed)
      assert.equal(#s:requests(), done + failed)
      assert.equal("01", harness.records(result.cwd)[1][1].id)
    end)
  end

  it("a second time ends at once, the record still written", function()
    local run = start("if request.id == '01' then return reply.json(400, '{}') end reply.hang()")
    run:wait_for("Failed: 01", 10)
    run:signal("INT")
    run:wait_for("SIGINT received", 10)
    run:signal("INT")
    local result = run:wait(5)
    assert.equal(130, result.code)
    assert.same({ 0, 1, 39 }, { number(result, "Succeeded"), number(result, "Failed"), number(result, "Pending") })
    assert.equal("01", harness.records(result.cwd)[1][1].id)
  end)

  -- What is waited for is not in flight.
  local waits = {
    { "is held back by the backend", "if request.n > 10 then return reply.json(429, '{}', { ['Retry-After'] = '60' }) end reply.embedding(request.id)",
      "Rate limited" },
    { "waits for a backend that is gone", "if request.n > 10 then return reply.reset() end reply.embedding(request.id)", "pausing and probing" },
    { "waits for one that is silent", "if request.n > 10 then return reply.hang() end reply.embedding(request.id)", "pausing and probing" },
  }
  for _, case in ipairs(waits) do
    it("while it " .. case[1] .. " ends at once, and counts what is pending", function()
      local run = start(case[2], { "--max-retries", "20", "--retry-delay", "0.01", "--timeout", "0.2" })
      run:wait_for(case[3])
      run:signal("INT")
      local result = run:wait(10)
      assert.equal(130, result.code, result.output)
      -- Ten, unless the machine was so busy that one of them was taken for silent.
      local done = number(result, "Succeeded")
      assert.is_true(done > 0 and done <= 10, result.output)
      assert.same({ 0, 40 - done }, { number(result, "Failed"), number(result, "Pending") }, result.output)
      assert.same({}, harness.list(result.cwd))
    end)
  end

  it("by SIGUSR1 prints where it stands and goes on", function()
    local run = start("reply.sleep(0.02) reply.embedding(request.id)")
    run:wait_for("Succeeded: 20", 10)
    run:signal("USR1")
    local result = run:wait(20)
    assert.equal(0, result.code)
    assert.matches("INFO %- Progress: %d+/40 %(%d+%.%d%%%) | succeeded: %d+ | failed: 0 | skipped: 0 | %d+%.%d/s | in flight: %d/2", result.stderr)
    -- The rate is that of the run so far, not of no time at all.
    assert.is_true(tonumber(result.stderr:match("| (%d+%.%d)/s | in flight")) > 1, result.stderr)
  end)

  it("by SIGKILL leaves a journal, of which the next run makes the record", function()
    local run = start("if request.id == '01' then return reply.json(400, '{}') end reply.hang()")
    run:wait_for("Failed: 01", 10)
    run:signal("KILL")
    local killed = run:wait(5)
    assert.equal("KILL", killed.signal)
    assert.matches("^failed_images_.*%.journal$", harness.list(killed.cwd)[1])
    local result = harness.run { args = { "--storage-path", harness.tree {}, "--api-url", s.url }, cwd = killed.cwd, env = { LC_ALL = "C" } }
    assert.matches("WARNING %- Record of an interrupted run made: failed_images_%d+_%d+%.json\n", result.stderr)
    assert.equal("01", harness.records(killed.cwd)[1][1].id)
    assert.equal(1, #harness.list(killed.cwd))
  end)

  it("by a closed pipe finishes its work", function()
    s = server.start "return function(request, reply) reply.sleep(0.01) reply.embedding(request.id) end"
    local result = harness.run {
      command = { "sh", "-c", string.format("{ %s '%s/rebuild.lua' --storage-path '%s' --api-url %s --no-skip-indexed 2>&1; echo $? > code; } | head -n 1",
        harness.lua_command(), harness.root, harness.tree(names), s.url) },
    }
    assert.equal(40, #s:requests())
    assert.equal("0\n", harness.read(result.cwd .. "/code"))
  end)
end)

describe("the first request", function()
  local s
  after_each(function()
    s:stop()
    harness.cleanup()
  end)

  it("leaves while the walk still runs", function()
    local storage = harness.tree { "a.jpg" }
    for i = 1, 3000 do harness.write(string.format("%s/z%04d/x%04d.jpg", storage, i, i), "") end
    s = server.start "return function(request, reply) reply.sleep(0.05) reply.not_indexed() end"
    local run = harness.spawn {
      args = { "--storage-path", storage, "--api-url", s.url, "--verbose", "--max-retries", "0", "--max-concurrent", "1",
               "--check", "each" },
      env = { LC_ALL = "C" },
    }
    run:wait_for("lookup a ", 10)
    run:signal("KILL")
    run:wait(5)
    assert.equal("a", s:requests()[1].id)
  end)
end)
