-- The direct rebuild under fire: an embedding service and an index that refuse, break and die, and the command killed. Both
-- are one server here, or two where one of them has to die: a plain embedder at /embed, Qdrant's contract server elsewhere.
require "spec.support.paths"
local cjson = require "cjson"
local harness = require "spec.support.harness"
local http = require "socket.http"
local lfs = require "lfs"
local revec = require "revec"
local server = require "spec.support.server"

local names = {}
for i = 1, 30 do names[i] = string.format("%02d.jpg", i) end

local storage, dir

-- faults: Lua that runs first for each request; it may answer and return.
local function serve(faults)
  return server.start([[
    local qdrant = require("spec.support.services.qdrant")
    return function(request, reply)
      ]] .. (faults or "") .. [[

      -- A file's content is its name: 07.jpg has the vector [7, 1].
      if request.path == "/embed" then return reply.json(200, '{"embedding":[' .. tonumber(request.body:match("%d+")) .. ',1]}') end
      return qdrant(request, reply)
    end]])
end

local function options(embedder, index, changes)
  local all = { direct = true, storage_path = storage, failed_dir = dir, embedder = embedder.url .. "/embed",
                index = "qdrant+" .. (index or embedder).url .. "/images", retry_delay = 0.01, batch_size = 10 }
  for key, value in pairs(changes or {}) do all[key] = value end
  return all
end

local function counts(report) return { report.reason, report.succeeded, report.skipped, report.failed, report.pending } end

-- How many records the index has, asked by others than revec.
local function stored(s)
  local answer = http.request(s.url .. "/collections/images")
  return cjson.decode(answer).result.points_count
end

describe("a direct rebuild, when", function()
  before_each(function()
    storage, dir = harness.tree(names), harness.tempdir()
  end)
  after_each(function()
    harness.cleanup()
    server.stop_all()
  end)

  it("the embedder throttles, holds back and loses nothing", function()
    local s = serve [[if request.path == "/embed" and request.seen % 5 == 0 then
      return reply.json(429, '{"message":"slow down"}', { ["Retry-After"] = "0" }) end]]
    local report = assert(revec.rebuild(options(s)))
    assert.same({ "done", 30, 0, 0, 0 }, counts(report))
    assert.is_true(report.throttled > 0)
    assert.equal(30, stored(s))
  end)

  -- A refusal that comes while a large body is under way. Behind it the connection is reset, which at once may overtake it.
  for _, service in ipairs { "plain+%s/embed", "openai+%s/v1#model" } do
    for wait, most in pairs { [0.1] = 1, [0] = 4 } do
      it(("the embedder refuses what is too large before it has read it (S41), tells of its reason: %s, %g s"):format(service, wait), function()
        local index = serve()
        local s = server.start(([[return function(request, reply)
          local body = '{"message":"at most 1 MB"}'
          reply.raw("HTTP/1.1 413 X\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body)
          reply.sleep(%g)
          reply.reset()
        end]]):format(wait), { early_answer = true })
        storage = harness.tempdir()
        for i = 1, 4 do harness.write(storage .. "/" .. i .. ".jpg", ("x"):rep(4 * 2 ^ 20)) end
        local report = assert(revec.rebuild(options(s, index, { embedder = service:format(s.url), max_retries = 3 })))
        assert.same({ "done", 0, 0, 4, 0 }, counts(report))
        local told = 0
        for _, failure in ipairs(harness.records(dir)[1]) do
          told = told + ((failure.kind == "rejected" and failure.status == 413 and failure.error == "at most 1 MB") and 1 or 0)
          assert.is_true(failure.attempts <= most, failure.attempts)
        end
        assert.is_true(told >= (most == 1 and 4 or 1), told)
      end)
    end
  end

  it("an upsert of many fails, has each image stored by itself", function()
    local s = serve [[if request.method == "PUT" and request.path:find("/points") and select(2, request.body:gsub('"vector"', "")) > 1 then
      return reply.json(500, '{"status":{"error":"too much at once"},"time":0}') end]]
    assert.same({ "done", 30, 0, 0, 0 }, counts(assert(revec.rebuild(options(s, nil, { max_retries = 0 })))))
    assert.equal(30, stored(s))
  end)

  it("the index is slow to make a collection, gets no more in one upsert than it takes", function()
    local s = serve [[
      if request.method == "PUT" and request.path:find("^/collections/[^/]*$") then reply.sleep(0.2) end
      if request.path:find("/points") and select(2, request.body:gsub('"vector"', "")) > 2 then
        return reply.json(403, '{"status":{"error":"too many"},"time":0}') end]]
    local report = assert(revec.rebuild(options(s, nil, { batch_size = 2, max_concurrent = 16 })))
    assert.same({ "done", 30, 0, 0, 0 }, counts(report))
  end)

  it("an upsert hides one bad record, fails that image alone", function()
    local s = serve [[if request.method == "PUT" and request.path:find("/points") and request.body:find('"path":"13%.jpg"') then
      return reply.json(400, '{"status":{"error":"unlucky"},"time":0}') end]]
    assert.same({ "done", 29, 0, 1, 0 }, counts(assert(revec.rebuild(options(s)))))
    local failure = harness.records(dir)[1][1]
    assert.same({ "13", "rejected", 400, "unlucky" }, { failure.id, failure.kind, failure.status, failure.error })
  end)

  it("the index cannot say what is there, embeds nothing blind", function()
    local s = serve()
    assert.same({ "done", 30, 0, 0, 0 }, counts(assert(revec.rebuild(options(s)))))
    s:stop()
    s = serve [[if request.path:find("/points$") and request.method == "POST" then
      return reply.json(500, '{"status":{"error":"out of order"},"time":0}') end]]
    assert.same({ "done", 30, 0, 0, 0 }, counts(assert(revec.rebuild(options(s, nil, { force_reindex = true })))))
    local embeds = s:count("/embed")
    assert.same({ "done", 0, 0, 30, 0 }, counts(assert(revec.rebuild(options(s, nil, { max_retries = 0 })))))
    assert.equal(embeds, s:count("/embed"))
  end)

  it("a vector is lost though the upsert succeeded, --verify finds out", function()
    local s = serve [[if request.method == "PUT" and request.path:find("/points") and request.body:find('"path":"05%.jpg"') then
      return reply.json(200, '{"result":{"operation_id":1,"status":"completed"},"status":"ok","time":0}') end]]
    local report = assert(revec.rebuild(options(s, nil, { verify = true, batch_size = 1 })))
    assert.same({ "done", 29, 0, 1, 0 }, counts(report))
    assert.same({ "05", "not_indexed" }, { harness.records(dir)[1][1].id, harness.records(dir)[1][1].kind })
  end)

  it("the index denies access, ends at once with everything pending", function()
    local s = serve [[if request.path ~= "/embed" then return reply.json(403, '{"status":{"error":"no key"},"time":0}') end]]
    local report = assert(revec.rebuild(options(s)))
    -- How many there are may not be counted yet.
    assert.same({ "denied", 0, 0, 0, report.total }, counts(report))
    assert.equal("no key", report.message)
  end)

  it("the embedder denies access, ends at once with everything pending", function()
    local s = serve [[if request.path == "/embed" then return reply.json(401, '{"message":"no key"}') end]]
    local report = assert(revec.rebuild(options(s)))
    -- How many there are may not be counted yet.
    assert.same({ "denied", 0, 0, 0, report.total }, counts(report))
  end)

  it("the embedder denies access to all but what is indexed, ends at once all the same", function()
    local s = serve()
    for i = 1, 30, 2 do os.remove(storage .. "/" .. names[i]) end
    assert.same({ "done", 15, 0, 0, 0 }, counts(assert(revec.rebuild(options(s)))))
    for i = 1, 30, 2 do harness.write(storage .. "/" .. names[i], names[i]) end
    local denying = serve [[if request.path == "/embed" then return reply.json(401, '{"message":"no key"}') end]]
    local report = assert(revec.rebuild(options(denying, s, { batch_size = 2, max_concurrent = 1 })))
    assert.equal("denied", report.reason)
    assert.is_true(denying:count("POST /embed") < 8) -- of 15
  end)

  it("the embedder dies in mid-run, stores what is embedded and ends when it stays away", function()
    local embedder, index = serve(), serve()
    local report = assert(revec.rebuild(options(embedder, index, { down_timeout = 0.3, batch_size = 3,
      on_success = function() embedder:kill() end })))
    assert.equal("down", report.reason)
    assert.is_true(report.succeeded > 0 and report.pending > 0)
    assert.equal(30, report.succeeded + report.pending)
    assert.equal(report.succeeded, stored(index))
  end)

  it("the index dies in mid-run, goes on when it is back", function()
    local embedder, index = serve(), serve()
    local dead
    local job = assert(revec.start(options(embedder, index, { batch_size = 3, on_success = function()
      if dead then return end
      dead = true
      index:kill()
    end })))
    local paused
    while job:step(0.05) do
      if job:snapshot().state == "paused" and not paused then
        paused = true
        index:revive()
      end
    end
    assert.is_true(paused)
    local report = job:report()
    -- What it had was in memory and died with it: that the rest goes into a collection which is gone is told image by image.
    assert.equal(30, report.succeeded + report.failed + report.pending)
    assert.is_true(report.succeeded > 0)
  end)

  it("the index dies and stays away, ends with all that is not stored pending", function()
    local embedder, index = serve(), serve()
    local report = assert(revec.rebuild(options(embedder, index, { down_timeout = 0.3, batch_size = 3,
      on_success = function() index:kill() end })))
    assert.equal("down", report.reason)
    assert.is_true(report.pending > 0)
    assert.equal(30, report.succeeded + report.failed + report.pending)
    assert.equal(0, report.failed)
  end)

  it("the storage goes away, ends before every image has failed", function()
    local many = {}
    for i = 1, 400 do many[i] = string.format("%03d.jpg", i) end
    for _, what in ipairs { "moved away", "unmounted" } do
      storage = harness.tree(many)
      local away, s = harness.tempdir() .. "/away", serve()
      local report = assert(revec.rebuild(options(s, s, { max_concurrent = 2, on_success = function()
        if os.rename(storage, away) and what == "unmounted" then assert(lfs.mkdir(storage)) end
      end })))
      assert.equal("storage", report.reason)
      assert.is_truthy(report.message:find(storage, 1, true))
      assert.is_true(report.succeeded >= 1 and report.failed >= 100 and report.failed < 200, report.failed)
      assert.equal(report.total, report.succeeded + report.failed + report.pending)
      if what == "moved away" then assert(lfs.mkdir(storage)) end
    end
  end)

  it("it is interrupted, stores what is embedded", function()
    local s = serve [[if request.path == "/embed" then reply.sleep(0.1) end]]
    local run = harness.spawn { cwd = dir, args = { "--direct", "--storage-path", storage, "--embedder", s.url .. "/embed", "--index",
      "qdrant+" .. s.url .. "/images", "--max-concurrent", "2", "--batch-size", "4", "--lang", "en" } }
    run:wait_for("Succeeded: 03", 10)
    run:signal("INT")
    local result = run:wait(10)
    assert.equal(130, result.code, result.output)
    local succeeded = tonumber(result.stderr:match("INFO %- Succeeded: (%d+)\n"))
    assert.is_true(succeeded >= 4 and succeeded < 30)
    assert.equal(succeeded, stored(s))
  end)

  it("it is killed, does the rest the next time", function()
    local s = serve [[if request.path == "/embed" then reply.sleep(0.05) end]]
    local run = harness.spawn { cwd = dir, args = { "--direct", "--storage-path", storage, "--embedder", s.url .. "/embed", "--index",
      "qdrant+" .. s.url .. "/images", "--max-concurrent", "2", "--batch-size", "4", "--lang", "en" } }
    run:wait_for("Succeeded: 06", 10)
    run:signal("KILL")
    run:wait(10)
    local had = stored(s)
    assert.is_true(had >= 6 and had < 30)
    assert.same({ "done", 30 - had, had, 0, 0 }, counts(assert(revec.rebuild(options(s)))))
  end)

  it("it is stopped while it switches, waits until it has", function()
    local s = serve [[if request.path == "/collections/aliases" then reply.sleep(0.2) end]]
    local job = assert(revec.start(options(s, nil, { recreate = true, swap = true })))
    while job:step(0.02) do
      if s:count("POST /collections/aliases") == 2 then job:stop() end -- the first is for what is staged
    end
    local report = job:report()
    assert.same({ "interrupted", 30, 0, 0, 0 }, counts(report))
    assert.is_true(report.switched)
    assert.equal(30, stored(s))
  end)

  it("a rebuild beside the old index is denied one image, does not switch", function()
    local s = serve [[if request.path == "/embed" and request.body:find("13") then return reply.json(403, '{"message":"not this one"}') end]]
    local report = assert(revec.rebuild(options(s, nil, { recreate = true, swap = true, max_concurrent = 1 })))
    assert.same({ "not_switched", 29, 0, 0, 1 }, counts(report))
    assert.equal("1 images are missing in the new index", report.message)
  end)

  it("a rebuild beside the old index is cut, leaves that as it is", function()
    local s = serve()
    assert.same({ "done", 30, 0, 0, 0 }, counts(assert(revec.rebuild(options(s)))))
    local job
    job = assert(revec.start(options(s, nil, { recreate = true, swap = true, batch_size = 1, on_success = function() job:stop() end })))
    while job:step(1) do end -- luacheck: ignore
    assert.equal("interrupted", job:report().reason)
    assert.is_nil(job:report().switched)
    assert.equal(30, stored(s))
    assert.is_true(assert(revec.rebuild(options(s, nil, { recreate = true, swap = true }))).switched)
    assert.equal(30, stored(s))
  end)
end)
