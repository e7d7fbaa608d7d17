-- No success that is none, nothing done twice without need, nothing lost: look-ups before another try, --verify,
-- --retry-failed, --max-failures, --down-timeout. The real command against a server that misbehaves on request.
local harness = require "spec.support.harness"
local server = require "spec.support.server"

local function run(s, storage, args, cwd)
  local all = { "--storage-path", storage, "--api-url", s.url, "--retry-delay", "0.01", "--check", "each" }
  for _, argument in ipairs(args or {}) do all[#all + 1] = argument end
  local result = harness.run { args = all, env = { LC_ALL = "C" }, timeout = 60, cwd = cwd }
  function result.number(name) return tonumber(result.stderr:match("INFO %- " .. name .. ": (%d+)\n")) end
  result.record = harness.records(result.cwd)[1]
  return result
end

local function numbered(n)
  local names = {}
  for i = 1, n do names[i] = string.format("%03d.jpg", i) end
  return names
end

describe("an embed request whose answer did not arrive whole", function()
  local s
  after_each(function()
    s:stop()
    harness.cleanup()
  end)

  for _, fault in ipairs { "reply.cut(900, 'rst')", "reply.cut(900, 'fin')", "reply.reset()", "reply.hang()" } do
    -- The server has embedded the image, then the answer is lost.
    local handler = [[return function(request, reply)
      if request.method == "POST" then
        state[request.id] = true
        ]] .. fault .. [[

        return
      end
      if state[request.id] then return reply.vector(request.id) end
      reply.not_indexed()
    end]]

    it("is looked up, and not embedded again when it landed: " .. fault, function()
      s = server.start(handler)
      local result = run(s, harness.tree { "a.jpg", "b.jpg" }, { "--timeout", "0.3" })
      assert.equal(0, result.code, result.output)
      assert.equal(2, result.number("Succeeded"))
      -- A kept connection that dies without a byte of an answer has libcurl send once more by itself.
      local embeds = s:count("^POST ")
      assert.is_true(embeds == 2 or (fault == "reply.reset()" and embeds <= 4), embeds)
      assert.equal(4, s:count("^GET "))
    end)
  end

  it("is looked up, too, before a hook has it tried again", function()
    s = server.start [[return function(request, reply)
      if request.method == "GET" then
        if state[request.id] == 2 then return reply.vector(request.id) end
        return reply.not_indexed()
      end
      state[request.id] = (state[request.id] or 0) + 1
      reply.cut(900, "rst")
    end]]
    local storage = harness.tree { "a.jpg" }
    local config = harness.tempdir() .. "/config.lua"
    harness.write(config, 'return { on_failure = function() return "retry" end }')
    local result = run(s, storage, { "--max-retries", "1", "--config", config })
    assert.equal(0, result.code, result.output)
    assert.same({ 1, 2 }, { result.number("Succeeded"), s:count("^POST ") })
  end)

  it("is embedded again at once under --force-reindex: asking would prove nothing", function()
    s = server.start [[return function(request, reply)
      if request.seen == 1 then return reply.cut(900, "rst") end
      reply.embedding(request.id)
    end]]
    local result = run(s, harness.tree { "a.jpg" }, { "--force-reindex" })
    assert.equal(0, result.code)
    assert.same({ 2, 0 }, { s:count("^POST "), s:count("^GET ") })
  end)

  it("fails with the look-up's kind when it cannot be looked up", function()
    s = server.start [[return function(request, reply)
      if request.method == "POST" then return reply.cut(900, "rst") end
      if request.seen > 1 then return reply.json(500, '{"detail":"index is down"}') end
      reply.not_indexed()
    end]]
    local result = run(s, harness.tree { "a.jpg" }, { "--max-retries", "2" })
    assert.equal(1, result.code)
    assert.same({ "backend_error", "index is down" }, { result.record[1].kind, result.record[1].error })
    assert.equal(1, s:count("^POST "))
  end)
end)

describe("--verify", function()
  local s
  after_each(function()
    s:stop()
    harness.cleanup()
  end)

  it("tells success only of what is found afterwards; what is missing is embedded once more, then has failed", function()
    s = server.start [[return function(request, reply)
      if request.method == "POST" then
        -- Success is said of all; "b" is indexed at the second time only, "c" never.
        state[request.id] = (state[request.id] or 0) + 1
        return reply.embedding(request.id)
      end
      local times = state[request.id] or 0
      if times >= (({ a = 1, b = 2 })[request.id] or 99) then return reply.vector(request.id) end
      reply.not_indexed()
    end]]
    local result = run(s, harness.tree { "a.jpg", "b.jpg", "c.jpg" }, { "--verify" })
    assert.equal(1, result.code)
    assert.same({ 2, 1 }, { result.number("Succeeded"), result.number("Failed") })
    assert.same({ "c", "not_indexed", "the backend answered success, but the image is not indexed" },
      { result.record[1].id, result.record[1].kind, result.record[1].error })
    assert.same({ 1, 2, 2 }, { s:count("^POST .*=a&"), s:count("^POST .*=b&"), s:count("^POST .*=c&") })
    assert.equal(result.record[1].sends, s:count("c$") + s:count("=c&"))
  end)

  it("says that after a forced run it proves presence, not freshness", function()
    s = server.start "return function(request, reply) if request.method == 'GET' then return reply.vector(request.id) end reply.embedding(request.id) end"
    local result = run(s, harness.tree { "a.jpg" }, { "--verify", "--force-reindex" })
    assert.equal(0, result.code)
    assert.matches("WARNING %- after a forced run %-%-verify proves that images are indexed, not that their vectors are new\n", result.stderr)
  end)
end)

describe("--retry-failed", function()
  local s
  before_each(function()
    s = server.start [[return function(request, reply)
      if request.method == "GET" then return reply.not_indexed() end
      state.healed = state.healed or request.id == "heal"
      if state.healed or (request.id ~= "b" and request.id:byte() < 128) then return reply.embedding(request.id) end
      reply.json(400, '{"detail":"not now"}')
    end]]
  end)
  after_each(function()
    s:stop()
    harness.cleanup()
  end)

  it("processes the images of a record and no others, whatever their names' bytes", function()
    local storage = harness.tree { "a.jpg", "2024/b.jpg", "\233.jpg", "c.jpg" }
    local result = run(s, storage)
    assert.equal(2, result.number("Failed"))
    local name = harness.list(result.cwd)[1]
    run(s, harness.tree { "heal.jpg" })
    local before = #s:requests()
    result = run(s, storage, { "--retry-failed", name }, result.cwd)
    assert.equal(0, result.code, result.output)
    assert.same({ 2, 2 }, { result.number("Total images"), result.number("Succeeded") })
    assert.equal(4, #s:requests() - before)
  end)

  it("says what is wrong with a file that is no record", function()
    local dir = harness.tempdir()
    local function says(text, pattern)
      harness.write(dir .. "/r.json", text)
      local result = run(s, dir, { "--retry-failed", "r.json" }, dir)
      assert.equal(2, result.code)
      assert.matches("^revec: %-%-retry%-failed: " .. pattern .. "\n$", result.output)
    end
    says("{", "r%.json: not a failure record %(a JSON array%)")
    says('{"a":1}', "r%.json: not a failure record %(a JSON array%)")
    says('[{"path":"a.jpg"},{"id":"b"}]', "r%.json: entry 2 has no path")
    says('[{"path":"a/"}]', "r%.json: entry 1 has no path")
    says('[{"path":"a.jpg","path_base64":"no!"}]', "r%.json: entry 1 has no path")
    local result = run(s, dir, { "--retry-failed", "none.json" }, dir)
    assert.equal("revec: --retry-failed: none.json: No such file or directory\n", result.output)
  end)

  it("has nothing to do for an empty record", function()
    local dir = harness.tempdir()
    harness.write(dir .. "/r.json", "[]")
    assert.equal(0, run(s, dir, { "--retry-failed", "r.json" }, dir).code)
  end)
end)

describe("--max-failures", function()
  local s
  after_each(function()
    s:stop()
    harness.cleanup()
  end)

  local failing = "return function(request, reply) if tonumber(request.id) %% %d == 0 then return reply.json(400, '{}') end reply.embedding(request.id) end"

  it("stops once so many have failed, the rest pending, with exit code 1", function()
    s = server.start(failing:format(2))
    local result = run(s, harness.tree(numbered(120)), { "--max-failures", "5", "--no-skip-indexed" })
    assert.equal(1, result.code)
    assert.matches("ERROR %- Too many failures, stopped: %d+ images failed\n", result.stderr)
    local failed, pending = result.number("Failed"), result.number("Pending")
    assert.is_true(failed >= 5 and failed <= 12, failed)
    assert.equal(120, result.number("Succeeded") + failed + pending)
  end)

  it("counts a share from the hundredth image on", function()
    s = server.start(failing:format(2))
    local result = run(s, harness.tree(numbered(200)), { "--max-failures", "40%", "--no-skip-indexed" })
    assert.equal(1, result.code)
    local done = 200 - result.number("Pending")
    assert.is_true(done >= 100 and done < 130, done)
  end)

  it("does not stop below it", function()
    s = server.start(failing:format(10))
    local result = run(s, harness.tree(numbered(120)), { "--max-failures", "20%", "--no-skip-indexed" })
    assert.equal(12, result.number("Failed"))
    assert.is_nil(result.number("Pending"))
  end)
end)

describe("a backend that goes away in mid-run", function()
  local s
  after_each(function()
    s:stop()
    harness.cleanup()
  end)

  it("pauses the run, which goes on when it is back, and costs no image", function()
    s = server.start [[return function(request, reply)
      if request.n == 40 then return reply.down(1.5) end
      if request.target == "/health" then return reply.json(200, "{}") end
      if request.method == "GET" then return reply.not_indexed() end
      reply.embedding(request.id)
    end]]
    local result = run(s, harness.tree(numbered(100)), { "--max-retries", "1" })
    assert.equal(0, result.code, result.output)
    assert.equal(100, result.number("Succeeded"))
    assert.matches("WARNING %- Backend is gone, pausing and probing: .*\n.*INFO %- Backend is back, going on\n", result.stderr)
  end)

  it("ends the run with 3 after --down-timeout, the rest pending and none failed", function()
    s = server.start [[return function(request, reply)
      if request.n == 40 then return reply.down() end
      reply.embedding(request.id)
    end]]
    local result = run(s, harness.tree(numbered(100)), { "--max-retries", "1", "--down-timeout", "1", "--no-skip-indexed" })
    assert.equal(3, result.code, result.output)
    assert.equal(0, result.number("Failed"))
    assert.equal(100, result.number("Succeeded") + result.number("Pending"))
    assert.is_nil(result.record)
    assert.is_true(result.seconds < 15)
  end)

  it("ends the run with 3 when it throttles everything for --down-timeout", function()
    s = server.start [[return function(request, reply)
      if request.n > 20 then return reply.json(429, "{}") end
      reply.embedding(request.id)
    end]]
    local result = run(s, harness.tree(numbered(50)), { "--down-timeout", "1", "--no-skip-indexed" })
    assert.equal(3, result.code, result.output)
    assert.equal(50, result.number("Succeeded") + result.number("Pending"))
  end)
end)

describe("the record", function()
  after_each(harness.cleanup)

  it("and the counts agree with what the server saw, to the last request", function()
    local s = server.start [[return function(request, reply)
      local n = (request.n * 7919) % 11
      if n == 0 then return reply.reset() end
      if n == 1 then return reply.json(503, "{}") end
      if n == 2 then return reply.json(429, "{}") end
      if n == 3 then return reply.cut(500, "fin") end
      if request.method == "GET" then return reply.not_indexed() end
      reply.embedding(request.id, 3)
    end]]
    local result = harness.run { args = { "--config", "c.lua" }, cwd = (function()
      local dir = harness.tempdir()
      harness.write(dir .. "/c.lua", string.format([[return { storage_path = %q, api_url = %q, retry_delay = 0.01, max_retries = 20, check = "each",
        on_done = function(report)
          local file = io.open("sends", "w")
          file:write(string.format("%%d", report.sends))
          file:close()
        end }]],
        harness.tree(numbered(200)), s.url))
      return dir
    end)() }
    assert.equal(0, result.code, result.output)
    assert.equal(#s:requests(), tonumber(harness.read(result.cwd .. "/sends")))
    s:stop()
  end)
end)
