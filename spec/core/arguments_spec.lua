-- Wrong arguments and options are refused by name, in the same words under every Lua.

require("spec.support.paths")
local core = require("revec.core")
local engines = require("spec.support.engines")

after_each(engines.close_all)

-- What it raises, without the place in the spec that it names.
local function raised(f, ...)
  local ok, why = pcall(f, ...)
  assert.is_false(ok, "no error was raised")
  return (why:gsub("^[^:]*:%d+: ", ""))
end

describe("the arguments of an engine", function()
  local valid = { url = "http://127.0.0.1:1" }
  local function with(name, value)
    local options = { probe_url = valid.url }
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
      { "beside", "x", "beside: engine expected, got string" },
      { "beside", io.stdout, "beside: engine expected, got userdata" },
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
    local engine = engines.new(valid)
    local nine = { "1", "2", "3", "4", "5", "6", "7", "8", "9" }
    local cases = {
      { { fields = nine }, "fields: at most 8 names, got 9" }, { { fields = { {} } }, "fields: array of strings expected" },
      { { fields = "path" }, "fields: array of strings expected" }, { { max_bytes = 0 }, "max_bytes: integer 1.." },
      { { accept = 404 }, "accept: array of statuses expected" },
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
    local engine = engines.new(valid)
    local route = engine:route {}
    for _, wrong in ipairs { 0, route + 1, "1", 1.5, {} } do
      assert.is_truthy(raised(engine.submit, engine, wrong, valid.url, 1):find("^route: integer 1"))
    end
    assert.has_error(function() engine:submit(route, nil, 1) end)
    assert.is_truthy(raised(engine.submit, engine, route, valid.url):find("an item is needed", 1, true))
    assert.is_truthy(raised(engine.wait, engine, -1):find("^seconds: number"))
    assert.is_truthy(raised(engine.poll, engine, 0):find("^most: integer"))
    for _, method in ipairs { "poll", "submit", "close", "stats", "fd" } do
      assert.has_error(function() engine[method]() end)
      assert.has_error(function() engine[method](io.stdout) end)
    end
  end)
end)
