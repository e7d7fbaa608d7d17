-- Each example, run as its usage says, against the example backend; and what came of it.
local paths = require "spec.support.paths"
local cjson = require "cjson"
local DBI = require "DBI"
local http = require "socket.http"
local lfs = require "lfs"
local harness = require "spec.support.harness"
local server = require "spec.support.server"

local LARGE = ("x"):rep(20000)
local NEW, OLD = os.time { year = 2025, month = 6, day = 1 }, os.time { year = 2023, month = 6, day = 1 }

local modules = {
  LUA_PATH = paths.root .. "lua/?.lua;" .. paths.root .. "lua/?/init.lua;;",
  LUA_CPATH = paths.build .. "/" .. _VERSION:match("%d+%.%d+") .. "/?.so;;",
}

local storage, backend

local function example(name) return paths.root .. "examples/" .. name .. ".lua" end

-- One that is a program.
local function script(name, ...)
  return harness.run { script = example(name), args = { storage, ... }, env = modules }
end

-- One that is a config file of the command; nil: the command without.
local function config(name, options)
  local args = { "--storage-path", storage, "--api-url", backend.url, "--retry-delay", "0.01", "--max-retries", "1" }
  if name then
    args[#args + 1] = "--config"
    args[#args + 1] = example(name)
  end
  local env = { LC_ALL = "C" }
  for key, value in pairs(options or {}) do env[key] = value end
  return harness.run { args = args, env = env }
end

-- What the backend has stored of an id; nil when that is nothing.
local function indexed(id, url)
  local body, status = http.request((url or backend.url) .. "/api/v1/vectors/" .. id)
  if status == 404 then return nil end
  assert(status == 200, body)
  return cjson.decode(body).data.metadata
end

setup(function()
  storage = harness.tempdir()
  local files = { ["new/large.jpg"] = NEW, ["old/large2.jpg"] = OLD, ["new/summer, late/it's.jpg"] = NEW, ["new/small.jpg"] = NEW }
  for name, mtime in pairs(files) do
    harness.write(storage .. "/" .. name, name:find("small") and "x" or LARGE)
    assert(lfs.touch(storage .. "/" .. name, mtime, mtime))
  end
  backend = harness.backend(storage, { dim = 8 })
end)
before_each(function() backend:control() end)
after_each(function() server.stop_all() end)
teardown(harness.cleanup)

describe("the example", function()
  it("quick_start is five lines, and rebuilds", function()
    local lines = select(2, harness.read(example "quick_start"):gsub("\n", ""))
    assert.equal(5, lines)
    local result = script("quick_start", backend.url)
    assert.same({ 0, "done: 4 of 4 succeeded, 0 failed\n" }, { result.code, result.stdout }, result.output)
    assert.is_table(indexed "large")
    assert.matches("storage_path: .*/nowhere", harness.run {
      script = example "quick_start", args = { "/nowhere" }, env = modules }.stderr)
  end)

  for _, loop in ipairs { "luv", "cqueues" } do
    it("event_loop_" .. loop .. " is stepped no more often than answers come, while its timer goes on", function()
      backend:control { latency_ms = 150 }
      local result = script("event_loop_" .. loop, backend.url)
      local requests, turns = result.stdout:match("done: 4 of 4 succeeded, (%d+) requests in (%d+) turns\n")
      -- An embed each, and the look-ups.
      assert.is_true(tonumber(requests) >= 5 and tonumber(requests) <= 9, result.output)
      assert.is_true(tonumber(turns) <= tonumber(requests) + 8, turns .. " turns")
      assert.matches("%d done\n", result.stdout)
    end)
  end

  it("filter takes what is large and new", function()
    local result = config "filter"
    assert.equal(0, result.code, result.output)
    assert.is_table(indexed "large")
    assert.is_table(indexed "it%27s")
    assert.is_nil(indexed "large2")
    assert.is_nil(indexed "small")
  end)

  it("tags makes tags of folders, one of each", function()
    local result = config "tags"
    assert.equal(0, result.code, result.output)
    assert.same({ "old" }, indexed("large2").tags)
    assert.same({ "new", "summer  late" }, indexed("it%27s").tags)
  end)

  it("retry goes on where the image is not at fault", function()
    -- Two attempts are not enough, a second round's are.
    local busy = { fail = { pattern = "image_id=small&", status = 503, times = 3 } }
    backend:control(busy)
    assert.equal(1, config(nil).code)
    backend:control()
    backend:control(busy)
    local result = config "retry"
    assert.equal(0, result.code, result.output)
    assert.is_table(indexed "small")
  end)

  it("retry passes over what is gone, and records what was refused", function()
    backend:control { fail = { pattern = "image_id=small&", status = 410 } }
    local result = config "retry"
    assert.same({ 0, {} }, { result.code, harness.list(result.cwd) }, result.output)
    backend:control { fail = { pattern = "image_id=small&", status = 422 } }
    result = config "retry"
    assert.equal(1, result.code, result.output)
    assert.equal("rejected", harness.records(result.cwd)[1][1].kind)
  end)

  it("retry stops when the backend's disk is full", function()
    backend:control { fail = { pattern = "image_id=", status = 500, body = '{"detail":"No space left on device"}' } }
    local result = config "retry"
    assert.equal(1, result.code)
    assert.matches("on_failure said stop", result.stderr)
  end)

  local function rows(file)
    local db = assert(DBI.Connect("SQLite3", file))
    local select_all = assert(db:prepare "SELECT id, path, size, indexed_at FROM image ORDER BY id")
    assert(select_all:execute())
    local found = {}
    for row in select_all:rows(true) do
      found[#found + 1] = { row.id, row.path:sub(#storage + 2), row.size, row.indexed_at and "now" }
    end
    select_all:close()
    db:close()
    return found
  end

  it("sqlite keeps a row for each image that is indexed, whatever its name", function()
    local expected = {
      { "it's", "new/summer, late/it's.jpg", #LARGE, "now" }, { "large", "new/large.jpg", #LARGE, "now" },
      { "large2", "old/large2.jpg", #LARGE, "now" },
    }
    backend:control { fail = { pattern = "image_id=small&", status = 422 } }
    local first = harness.tempdir() .. "/first.sqlite"
    local result = config("sqlite", { REVEC_SQLITE = first })
    assert.equal(1, result.code, result.output)
    assert.same(expected, rows(first))
    -- Once more: what was there stays as it was, what had failed comes.
    backend:control { fail = cjson.null }
    assert.equal(0, config("sqlite", { REVEC_SQLITE = first }).code)
    expected[4] = { "small", "new/small.jpg", 1, "now" }
    assert.same(expected, rows(first))
    -- A lost file is made anew from what is skipped.
    local second = harness.tempdir() .. "/second.sqlite"
    assert.equal(0, config("sqlite", { REVEC_SQLITE = second }).code)
    for _, row in ipairs(expected) do row[4] = nil end
    assert.same(expected, rows(second))
  end)

  it("sqlite says in one line that its file cannot be written", function()
    local result = config("sqlite", { REVEC_SQLITE = "/nowhere/x.sqlite" })
    assert.equal(2, result.code)
    assert.equal(1, select(2, result.stderr:gsub("\n", "\n")), result.stderr)
  end)

  it("webhook tells how the run went, and again when it was not heard", function()
    local hook = server.start [[return function(request, reply)
      if request.n == 1 then return reply.json(503, "{}") end
      reply.json(200, "{}")
    end]]
    local result = config("webhook", { WEBHOOK_URL = hook.url .. "/hooks/rebuild?key=1" })
    assert.equal(0, result.code, result.output)
    local requests = hook:requests()
    assert.equal(2, #requests)
    assert.same({ "POST", "/hooks/rebuild", { key = "1", reason = "done", total = "4", succeeded = "4", failed = "0", skipped = "0", pending = "0" } },
      { requests[2].method, requests[2].path, requests[2].query })
  end)

  it("webhook says so when nobody hears it", function()
    local hook = server.start [[return function(request, reply) reply.json(404, '{}') end]]
    local result = config("webhook", { WEBHOOK_URL = hook.url .. "/gone" })
    assert.equal(2, result.code)
    assert.matches("on_done: the webhook was not told: status 404\n", result.stderr)
    result = config("webhook", { WEBHOOK_URL = "http://127.0.0.1:" .. harness.free_port() })
    assert.equal(2, result.code)
    assert.matches("on_done: the webhook was not told: [^\n]+\n", result.stderr)
    result = config("webhook", { WEBHOOK_URL = false })
    assert.same({ 2, "revec: --config: WEBHOOK_URL: a URL expected, got nil\n" }, { result.code, result.stderr })
  end)

  it("compare sets the figures of two backends side by side", function()
    local other = harness.backend(storage, { dim = 8 })
    other:control { fail = { pattern = "image_id=small&", status = 422 } }
    local result = script("compare", backend.url, other.url)
    assert.equal(0, result.code, result.output)
    local function row(name) return { result.stdout:match("\n" .. name .. " +(%S+) +(%S+)\n") } end
    assert.same({ { "done", "done" }, { "4", "3" }, { "0", "1" }, { "0", "1" } },
      { row "ended", row "succeeded", row "failed", row "failed: rejected" }, result.stdout)
    local rates = row "images per second"
    assert.is_true(tonumber(rates[1]) > 0 and tonumber(rates[2]) > 0)
    assert.is_table(indexed "small")
    assert.is_nil(indexed("small", other.url))
  end)

  it("is in the list of examples", function()
    local readme = harness.read(paths.root .. "examples/README.md")
    for _, name in ipairs(harness.list(paths.root .. "examples")) do
      assert.is_truthy(name == "README.md" or readme:find("(" .. name, 1, true), name)
    end
  end)
end)
