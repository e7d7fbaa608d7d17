-- The library as a script uses it: revec.rebuild, revec.start, hooks; in this process, against a real server.
require "spec.support.paths"
local census = require "spec.support.census"
local harness = require "spec.support.harness"
local revec = require "revec"
local server = require "spec.support.server"

local s, storage, record_dir

local good = [[return function(request, reply)
  if request.method == "GET" then return reply.not_indexed() end
  reply.embedding(request.id)
end]]

local function serve(handler)
  s = server.start(handler or good)
  return s
end

local function options(changes)
  local all = { storage_path = storage, api_url = s.url, failed_dir = record_dir, retry_delay = 0.01, check = "each" }
  for key, value in pairs(changes or {}) do all[key] = value end
  return all
end

describe("the library", function()
  local before
  -- The first server of a process opens what stays open (libuv's /dev/null).
  setup(function() server.start(good):stop() end)
  before_each(function()
    storage = harness.tree { "2024/a.jpg", "2024/b.png", "2025/c.gif", "2025/d.webp" }
    record_dir = harness.tempdir()
    before = census.take()
  end)
  after_each(function()
    if s then s:stop() end
    s = nil
    assert.same(before, census.take(before))
    harness.cleanup()
  end)

  it("rebuilds and reports counts that add up", function()
    serve()
    local report = assert(revec.rebuild(options()))
    assert.same({ "done", 4, 4, 0, 0, 0, 0, 0, 0 }, {
      report.reason, report.total, report.succeeded, report.failed, report.skipped, report.pending, report.filtered,
      report.duplicates, report.folders })
    assert.equal(8, report.sends)
    assert.equal(#s:requests(), report.sends)
    assert.is_nil(report.record)
  end)

  it("raises for a caller's mistake, with the option named", function()
    assert.has_error(function() revec.rebuild { limt = 1 } end, 'revec: "limt": no such option: did you mean limit?')
    assert.has_error(function() revec.start(7) end, "revec: a table of options expected, got number")
    assert.has_error(function() revec.start { max_retries = -1 } end, "revec: max_retries: integer 0..1000 expected, got -1")
  end)

  it("gives nil and one line for what the world does", function()
    local report, why = revec.rebuild { storage_path = "/nowhere/at/all" }
    assert.is_nil(report)
    assert.equal("storage_path: /nowhere/at/all: No such file or directory", why)
  end)

  it("shows a job's progress to a host that drives it", function()
    serve()
    local job = assert(revec.start(options { max_concurrent = 1 }))
    local most, steps = 0, 0
    assert.is_number(job:fd())
    while job:step(0.05) do
      local snapshot = job:snapshot()
      assert.is_true(snapshot.done >= most and snapshot.active <= 1)
      most, steps = snapshot.done, steps + 1
      assert.is_nil(job:report())
    end
    assert.is_true(steps > 1)
    assert.equal(4, job:report().succeeded)
    assert.is_false(job:step(1))
  end)

  it("drains when it is told to stop: what is in flight ends, the rest is pending", function()
    serve [[return function(request, reply)
      if request.method == "GET" then return reply.not_indexed() end
      reply.sleep(0.2) reply.embedding(request.id)
    end]]
    local job
    storage = harness.tree { "1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg", "7.jpg", "8.jpg", "9.jpg" }
    job = assert(revec.start(options { max_concurrent = 2, no_skip_indexed = true, on_success = function() job:stop() end }))
    while job:step(1) do end -- luacheck: ignore
    local report = job:report()
    assert.same({ "interrupted", 9, 9, 0 },
      { report.reason, report.total, report.succeeded + report.pending, report.failed })
    assert.is_true(report.succeeded >= 2 and report.succeeded <= 4)
    assert.equal(#s:requests(), report.sends)
  end)

  it("ends at once when it is told to abort", function()
    serve "return function(request, reply) reply.hang() end"
    local job = assert(revec.start(options()))
    repeat job:step(0.1) until job:snapshot().total_known and job:snapshot().active > 0
    job:abort()
    assert.is_false(job:step(1))
    assert.same({ "interrupted", 4, 0, 4 }, { job:report().reason, job:report().total, job:report().done, job:report().pending })
  end)

  it("may be stopped or aborted by a hook, and stepped by none", function()
    serve()
    local job
    job = assert(revec.start(options { on_success = function() job:abort() end }))
    while job:step(1) do end -- luacheck: ignore
    assert.equal("interrupted", job:report().reason)
    job = assert(revec.start(options { on_success = function() job:step() end }))
    while job:step(1) do end -- luacheck: ignore
    assert.matches("^on_success: .*step called from within a hook of the same job$", job:report().message)
  end)

  it("lets a job be forgotten in mid-run", function()
    serve "return function(request, reply) reply.hang() end"
    ;(function() assert(revec.start(options())):step(0.1) end)()
    collectgarbage()
    collectgarbage()
  end)
end)

describe("a hook", function()
  before_each(function()
    storage = harness.tree { "2024/a.jpg", "2024/b.png", "2025/c.gif", "2025/d.webp" }
    record_dir = harness.tempdir()
  end)
  after_each(function()
    if s then s:stop() end
    s = nil
    harness.cleanup()
  end)

  it("filters by anything known of an image", function()
    serve()
    local seen = {}
    local report = assert(revec.rebuild(options { filter = function(image)
      seen[image.id] = { image.path, image.relative_path, image.filename, image.extension, image.size }
      assert.is_true(image.mtime > 1e9)
      return image.relative_path:find("^2025/") ~= nil
    end }))
    assert.same({ storage .. "/2024/a.jpg", "2024/a.jpg", "a.jpg", "jpg", #"2024/a.jpg" }, seen.a)
    assert.same({ 2, 2, 2 }, { report.total, report.succeeded, report.filtered })
  end)

  it("names images and gives them tags", function()
    serve()
    local report = assert(revec.rebuild(options {
      id = function(image) return "id-" .. image.filename end,
      tags = function(image) return image.relative_path:match("^%d+") end,
    }))
    assert.equal(4, report.succeeded)
    assert.equal(1, s:count("^POST .*image_id=id%-a%.jpg&.*&tags=2024$"))
  end)

  it("may give ids with slashes: they reach the backend as they are", function()
    serve()
    assert.equal(4, assert(revec.rebuild(options { id = function(image) return image.relative_path end })).succeeded)
    assert.equal(1, s:count("^POST .*image_id=2024%%2Fa%.jpg&"))
    assert.equal(1, s:count("^GET /api/v1/vectors/2024%%2Fa%.jpg$"))
  end)

  it("counts ids that come twice as duplicates", function()
    serve()
    local report = assert(revec.rebuild(options { id = function(image) return image.relative_path:sub(1, 4) end }))
    assert.same({ 2, 2, 2 }, { report.total, report.succeeded, report.duplicates })
  end)

  it("hears of success, skip and the end", function()
    serve [[return function(request, reply)
      if request.id == "a" then return reply.vector("a") end
      if request.method == "GET" then return reply.not_indexed() end
      reply.embedding(request.id)
    end]]
    local heard = { success = {}, skip = {} }
    local report = assert(revec.rebuild(options {
      on_success = function(image, answer) heard.success[#heard.success + 1] = image.id .. answer.status end,
      on_skip = function(image) heard.skip[#heard.skip + 1] = image.id end,
      on_done = function(r) heard.done = r end,
      on_progress = function(snapshot) heard.progress = snapshot.done end,
    }))
    table.sort(heard.success)
    assert.same({ success = { "bsuccess", "csuccess", "dsuccess" }, skip = { "a" }, done = report, progress = 4 }, heard)
  end)

  it("listens to all events, or to those it names", function()
    serve()
    local all, some = {}, {}
    assert(revec.rebuild(options { on_event = function(name) all[name] = (all[name] or 0) + 1 end }))
    assert.same({ 4, 4, 8 }, { all.image, all.succeeded, all.request })
    assert(revec.rebuild(options { on_event = { succeeded = function(image) some[#some + 1] = image.id end } }))
    table.sort(some)
    assert.same({ "a", "b", "c", "d" }, some)
    assert.has_error(function() revec.start { on_event = { succeeded = true } } end,
      "revec: on_event: a function, or a table of functions by the names of events, expected, got a table")
  end)

  local failing = [[return function(request, reply)
    if request.method == "GET" then return reply.not_indexed() end
    if request.id == "b" and request.seen <= 2 then return reply.json(422, '{"detail":"odd"}') end
    reply.embedding(request.id)
  end]]

  it("may have a failure recorded, ignored, tried again, or end the run", function()
    local given
    local function run(verdict)
      serve(failing)
      local report = assert(revec.rebuild(options { max_concurrent = 1, on_failure = function(image, failure)
        given = { image.id, failure.kind, failure.status, failure.message, failure.attempts }
        return verdict
      end }))
      s:stop()
      return report
    end
    local report = run(nil)
    assert.same({ "b", "rejected", 422, "odd", 1 }, given)
    assert.same({ 3, 1, 0 }, { report.succeeded, report.failed, report.skipped })
    report = run("ignore")
    assert.same({ 3, 0, 1 }, { report.succeeded, report.failed, report.skipped })
    assert.is_nil(report.record)
    report = run("retry")
    assert.same({ 4, 0, 0 }, { report.succeeded, report.failed, report.skipped })
    report = run("stop")
    assert.same({ "stopped", 1 }, { report.reason, report.failed })
    assert.equal(4, report.succeeded + report.failed + report.pending)
    s = nil
  end)

  it("is asked at most max_retries times to try an image again", function()
    serve [[return function(request, reply) reply.json(422, '{}') end]]
    local asked = 0
    local report = assert(revec.rebuild(options { max_retries = 2, limit = 1, on_failure = function()
      asked = asked + 1
      return "retry"
    end }))
    assert.same({ 3, 1, 3 }, { asked, report.failed, #s:requests() })
  end)

  local raising = { "filter", "id", "tags", "on_success", "on_skip", "on_failure", "on_progress", "on_event", "on_done" }
  for _, name in ipairs(raising) do
    it(name .. " that raises ends the run, with hook, file and line named, and the counts still add up", function()
      serve [[return function(request, reply)
        if request.id == "a" or request.id == "id" then return reply.vector("a") end
        if request.method == "GET" then return reply.not_indexed() end
        if request.id == "b" then return reply.json(400, '{}') end
        reply.embedding(request.id)
      end]]
      local report = assert(revec.rebuild(options { [name] = function() error("no luck") end }))
      assert.equal("hook", report.reason)
      assert.matches("^" .. name .. ": .*library_spec.lua:%d+: no luck$", report.message)
      assert.equal(report.total, report.succeeded + report.failed + report.skipped + report.pending)
    end)
  end

  it("that answers nonsense ends the run with one line", function()
    serve(failing)
    assert.equal("id: a string expected, not empty, got number", assert(revec.rebuild(options { id = function() return 7 end })).message)
    assert.equal("tags: a string or nil expected, got table", assert(revec.rebuild(options { tags = function() return {} end })).message)
    assert.equal('on_failure: "record", "ignore", "retry" or "stop" expected, got maybe',
      assert(revec.rebuild(options { on_failure = function() return "maybe" end })).message)
  end)
end)
