-- The direct rebuild, end to end: by itself on this machine (descriptor and SQLite), and with embedders of the library's
-- caller. What the services' adapters do is in spec/embedders and spec/indexes.
require "spec.support.paths"
local census = require "spec.support.census"
local core = require "revec.core"
local harness = require "spec.support.harness"
local paths = require "spec.support.paths"
local process = require "spec.support.process"
local revec = require "revec"
local stores = require "revec.store"

local unpack = table.unpack or unpack -- luacheck: ignore 113 143

local storage, dir

local PICTURES = 12
local pictures = process.tempdir()

setup(function()
  harness.shell(("%s/render --out %s --count %d >/dev/null"):format(paths.build, process.quote(pictures), PICTURES))
end)
teardown(function() process.remove(pictures) end)

local function options(changes)
  local all = { direct = true, storage_path = storage, index = dir .. "/index.sqlite", failed_dir = dir, retry_delay = 0.01 }
  for key, value in pairs(changes or {}) do all[key] = value end
  return all
end

local function command(...)
  return harness.run { args = { "--direct", "--storage-path", storage, "--lang", "en", ... }, cwd = dir }
end

local function ids()
  local store = assert(stores.open(dir .. "/index.sqlite", { readonly = true }))
  local list = assert(store:ids())
  store:close()
  return list
end

-- An embedder of three numbers made of the file's name.
local function by_name(image)
  return { #image.id, image.id:byte(1), 1 }
end

describe("a direct rebuild", function()
  local before
  -- With the first thread of all a sanitizer may start one of its own, which stays.
  setup(function() assert(core.engine { probe_url = "http://127.0.0.1:1/" }):close() end)
  before_each(function()
    dir = harness.tempdir()
    before = census.take()
  end)
  after_each(function()
    assert.same(before, census.take(before))
    harness.cleanup()
  end)

  describe("by itself", function()
    before_each(function()
      storage = harness.tempdir()
      harness.shell(("cp -r %s/. %s"):format(process.quote(pictures), process.quote(storage)))
    end)

    it("indexes every image, and the second time skips them all", function()
      local first = command()
      assert.equal(0, first.code, first.output)
      assert.matches("Succeeded: 12\n", first.stderr)
      assert.equal(12, #ids())
      local second = command()
      assert.equal(0, second.code, second.output)
      assert.matches("Succeeded: 0\n.*Skipped: 12\n", second.stderr)
    end)

    it("says what a request came to, in every Lua", function()
      local run = command("--verbose", "--limit", "1")
      assert.equal(0, run.code, run.output)
      assert.matches("Request ended: embed [^\n]* %- ok\n", run.stderr)
    end)

    it("refuses a search for what is no image, and one that is not said as it should be", function()
      assert.equal(0, command("--limit", "1").code)
      harness.write(dir .. "/text.jpg", "no image at all")
      for _, case in ipairs {
        { { "search", "text.jpg" }, 3, "^revec: text.jpg: this machine: not a" },
        { { "search", "none.jpg" }, 3, "^revec: none.jpg: this machine: No such file" },
        { { "search", "" }, 2, "^revec: search: the path of an image" },
        { { "search", "text.jpg", "--top", "ten" }, 2, "^revec: %-%-top: integer 1..10000 expected, got ten" },
        { { "search", "text.jpg", "--index", "none.sqlite" }, 3, "^revec: none.sqlite: there is no such index" },
        { { "--direct", "--rollback", "--index", "none.sqlite" }, 3, "^revec: none.sqlite: no such file" },
      } do
        local run = harness.run { args = { unpack(case[1]) }, cwd = dir }
        assert.equal(case[2], run.code, run.output)
        assert.matches(case[3] .. "[^\n]*\n$", run.stderr)
      end
    end)

    it("finds an image by itself, best first, and says how near the others are", function()
      assert.equal(0, command().code)
      local image = harness.run { command = { "sh", "-c", "find " .. process.quote(storage) .. " -type f | sort" } }.stdout:match("^[^\n]+")
      local found = harness.run { args = { "search", image, "--top", "3" }, cwd = dir }
      assert.equal(0, found.code, found.output)
      local scores = {}
      for score, path in found.stdout:gmatch("([%d.]+)\t([^\n]+)\n") do scores[#scores + 1] = { tonumber(score), path } end
      assert.equal(3, #scores)
      assert.is_true(scores[1][1] > 0.9999 and scores[1][1] >= scores[2][1] and scores[2][1] >= scores[3][1])
      assert.equal(image:sub(#storage + 2), scores[1][2])
    end)

    it("fails what is no image, each with its reason, and takes wrong extensions", function()
      harness.write(storage .. "/broken.jpg", "no image at all")
      harness.write(storage .. "/empty.png", "")
      harness.write(storage .. "/huge.bmp", "BM" .. ("\0"):rep(12) .. "\40\0\0\0" .. "\48\117\0\0" .. "\48\117\0\0" .. "\1\0\24\0" .. ("\0"):rep(24))
      harness.shell("cp \"$(find " .. process.quote(storage) .. " -name '*.jpg' | sort | head -n 1)\" " .. process.quote(storage .. "/really-jpeg.png"))
      local run = command("--verify")
      assert.equal(1, run.code, run.output)
      assert.matches("ERROR %- Image cannot be used: broken %- not a JPEG, PNG, GIF, WebP or BMP image\n", run.stderr)
      local kinds = {}
      for _, failure in ipairs(harness.records(dir)[1]) do kinds[failure.filename] = failure.kind end
      assert.same({ ["broken.jpg"] = "bad_image", ["empty.png"] = "bad_image", ["huge.bmp"] = "too_large" }, kinds)
      assert.matches("Succeeded: 13\n.*Records in the index: 13\n", run.stderr)
    end)

    it("tells of no proxy that nobody goes through", function()
      local run = harness.run { args = { "--direct", "--storage-path", storage, "--lang", "en" }, cwd = dir,
        env = { https_proxy = "http://proxy.invalid:1", http_proxy = "http://proxy.invalid:1" } }
      assert.equal(0, run.code, run.output)
      assert.is_nil(run.stderr:find("proxy", 1, true))
    end)

    it("asks nobody and makes no file in a dry run", function()
      local run = command("--dry-run")
      assert.equal(0, run.code, run.output)
      run = command("--dry-run", "--verify", "--recreate", "--swap", "--index", "qdrant+http://127.0.0.1:1/images")
      assert.equal(0, run.code, run.output)
      assert.same({}, harness.list(dir))
    end)

    it("switches in spite of files that are no images, but not for one that was ignored and another that is missing", function()
      harness.write(storage .. "/broken.jpg", "no image at all")
      local swap = { recreate = true, swap = true }
      assert.is_true(assert(revec.rebuild(options(swap))).switched)
      local first
      swap.id = function(image)
        first = first or image.filename
        return image.filename == first and ("x"):rep(600) or image.filename
      end
      swap.on_failure = function(_, failure) return failure.kind == "bad_image" and "ignore" or "record" end
      local report = assert(revec.rebuild(options(swap)))
      assert.same({ "not_switched", 1, 1 }, { report.reason, report.failed, report.skipped })
    end)

    it("is refused by an index of another embedder, with what differs", function()
      harness.write(dir .. "/e.lua", "return { kind = 'func', model = 'names', call = function(image) return { #image.id, 1 } end }")
      assert.equal(0, command().code)
      local run = command("--embedder", "e.lua")
      assert.equal(2, run.code, run.output)
      assert.matches("model: the index has mpeg7%-cld%-ehd%-1, the embedder names", run.stderr)
      local found = harness.run { args = { "search", storage .. "/none.jpg", "--embedder", "e.lua" }, cwd = dir }
      assert.equal(3, found.code)
      assert.matches("its vectors are of mpeg7", found.stderr)
    end)
  end)

  describe("that recreates", function()
    before_each(function() storage = harness.tree { "a.jpg", "b.jpg" } end)

    local function index_by_name(changes)
      return assert(revec.rebuild(options(changes)))
    end

    it("does not drop anything unless it is told so by somebody", function()
      index_by_name { embedder = by_name }
      harness.write(dir .. "/e.lua", "return function(image) return { 1, 2 } end")
      local run = command("--embedder", "e.lua", "--recreate")
      assert.equal(2, run.code, run.output)
      assert.matches("its 2 records will be dropped: %-%-yes expected", run.stderr)
      assert.equal(2, #ids())
      run = command("--embedder", "e.lua", "--recreate", "--lang", "zh")
      assert.matches("将删除其中 2 条记录：无人可询问，请加 %-%-yes\n", run.stderr)
      run = command("--embedder", "e.lua", "--force-recreate", "--yes")
      assert.equal(0, run.code, run.output)
      local store = assert(stores.open(dir .. "/index.sqlite"))
      assert.equal(2, store:info().dimension)
      store:close()
    end)

    it("keeps the old one until the embedder has given a vector", function()
      index_by_name { embedder = by_name }
      local report = index_by_name { embedder = function() return nil, "no model" end, recreate = true }
      assert.same({ "done", 0, 2 }, { report.reason, report.succeeded, report.failed })
      assert.same({ "a", "b" }, ids())
      report = index_by_name { embedder = "http://127.0.0.1:1/embed", recreate = true, connect_timeout = 1 }
      assert.equal("down", report.reason)
      assert.same({ "a", "b" }, ids())
      local job
      job = assert(revec.start(options { recreate = true, embedder = function(image)
        job:stop()
        return { #image.id, 1 }
      end }))
      while job:step(1) do end -- luacheck: ignore
      assert.same({ "a", "b" }, ids())
      report = index_by_name { embedder = function(image) return image.id == "a" and { 1, 2 } or nil end, recreate = true }
      assert.same({ "done", 1, 1 }, { report.reason, report.succeeded, report.failed })
      assert.same({ "a" }, ids())
    end)

    it("builds beside the old one, switches in one step, and back", function()
      index_by_name { embedder = by_name }
      harness.write(storage .. "/c.jpg", "c")
      local seen
      local report = index_by_name { embedder = function(image)
        seen = #ids() -- what a search would find meanwhile
        return { #image.id, 2 }
      end, recreate = true, swap = true, batch_size = 1 }
      assert.equal("done", report.reason)
      assert.is_true(report.switched)
      assert.equal(2, seen)
      assert.same({ "a", "b", "c" }, ids())
      assert.equal(dir .. "/index.sqlite", (revec.rollback { direct = true, index = dir .. "/index.sqlite" }))
      assert.same({ "a", "b" }, ids())
      assert.is_truthy(revec.rollback { direct = true, index = dir .. "/index.sqlite" })
      assert.same({ "a", "b", "c" }, ids())
    end)

    it("does not switch to an index that lacks what could not be embedded", function()
      index_by_name { embedder = by_name }
      local report = index_by_name { recreate = true, swap = true, embedder = function(image)
        if image.id == "b" then return nil, "the model is gone" end
        return { 1, 2 }
      end }
      assert.equal("not_switched", report.reason)
      assert.equal("1 images are missing in the new index", report.message)
      assert.is_nil(report.switched)
      local store = assert(stores.open(dir .. "/index.sqlite"))
      assert.equal(3, store:info().dimension)
      store:close()
      -- What was left unfinished is no hindrance to the next one.
      assert.is_true(index_by_name { recreate = true, swap = true, embedder = by_name }.switched)
    end)

    it("does not switch to what another run has staged meanwhile", function()
      index_by_name { embedder = by_name }
      local report = index_by_name { embedder = by_name, recreate = true, swap = true, batch_size = 1, on_success = function(image)
        if image.id ~= "a" then return end
        local other = index_by_name { recreate = true, swap = true, batch_size = 1, embedder = { kind = "func", model = "another",
          call = function(each) return each.id == "a" and { 1, 2, 3 } or nil end } }
        assert.equal("not_switched", other.reason)
      end }
      assert.equal("not_switched", report.reason)
      assert.matches("another run.*: model: the index has another, the embedder function", report.message)
      local store = assert(stores.open(dir .. "/index.sqlite"))
      assert.equal("function", store:info().model)
      store:close()
    end)

    it("says so when there is nothing to go back to", function()
      index_by_name { embedder = by_name }
      local _, why = revec.rollback { direct = true, index = dir .. "/index.sqlite" }
      assert.matches("index.sqlite: ", why)
    end)
  end)

  describe("with an embedder of the caller's", function()
    before_each(function() storage = harness.tree { "x/a.jpg", "x/b.jpg", "y/a.jpg", "y/c.jpg" } end)

    it("tells on_success the vector, and makes ids as asked", function()
      local vectors = {}
      local report = assert(revec.rebuild(options { embedder = by_name, id = "path",
        on_success = function(image, answer) vectors[image.id] = answer.vector:dimension() end }))
      assert.equal(4, report.succeeded)
      assert.same({ ["x/a.jpg"] = 3, ["x/b.jpg"] = 3, ["y/a.jpg"] = 3, ["y/c.jpg"] = 3 }, vectors)
      assert.same({ "x/a.jpg", "x/b.jpg", "y/a.jpg", "y/c.jpg" }, ids())
    end)

    it("retries failures by their paths, and refuses another spelling of the storage, by which they had other ids", function()
      assert.equal(4, assert(revec.rebuild(options { embedder = function() return nil, "no" end, id = "path" })).failed)
      local record = dir .. "/" .. harness.list(dir)[1]
      local job, why = revec.start(options { embedder = by_name, id = "path", retry_failed = record, storage_path = storage .. "/." })
      assert.is_nil(job)
      assert.matches("^retry_failed: .* is not in ", why)
      assert.equal(4, assert(revec.rebuild(options { embedder = by_name, id = "path", retry_failed = record })).succeeded)
      assert.same({ "x/a.jpg", "x/b.jpg", "y/a.jpg", "y/c.jpg" }, ids())
    end)

    it("takes files of the same bytes for one image when ids are hashes", function()
      harness.write(storage .. "/y/a.jpg", "x/a.jpg")
      harness.write(storage .. "/y/c.jpg", "x/a.jpg")
      local report = assert(revec.rebuild(options { embedder = by_name, id = "sha256" }))
      assert.same({ 2, 2 }, { report.succeeded, report.duplicates })
      assert.equal(64, #ids()[1])
    end)

    it("fails an image whose vector is no use or of another dimension, alone", function()
      local odd = { ["x/b.jpg"] = { 0, 0, 0 }, ["y/a.jpg"] = { 1, 2 }, ["y/c.jpg"] = { 1, 0 / 0, 1 } }
      local report = assert(revec.rebuild(options { id = "path", max_concurrent = 1,
        embedder = function(image) return odd[image.id] or { 1, 2, 3 } end }))
      assert.same({ "done", 1, 3 }, { report.reason, report.succeeded, report.failed })
      local messages = {}
      for _, failure in ipairs(harness.records(dir)[1]) do messages[failure.id] = failure.error end
      assert.matches("a vector of 2 numbers: the index has 3", messages["y/a.jpg"])
      assert.matches("no use as a vector", messages["x/b.jpg"])
      assert.matches("no use as a vector", messages["y/c.jpg"])
    end)

    it("fails an image whose vector is no use, and be it the first of a new index", function()
      local report = assert(revec.rebuild(options { id = "path", max_concurrent = 1,
        embedder = function(image) return image.id == "x/a.jpg" and { 0, 0 } or { 1, 2 } end }))
      assert.same({ "done", 3, 1 }, { report.reason, report.succeeded, report.failed })
      assert.equal("bad_answer", harness.records(dir)[1][1].kind)
    end)

    it("ends cleanly when it raises, with file and line", function()
      local report = assert(revec.rebuild(options { embedder = function() error("out of tea") end }))
      assert.equal("hook", report.reason)
      assert.matches("^embedder: .*direct_spec.lua:%d+: out of tea$", report.message)
      assert.equal(report.total, report.pending)
    end)

    it("ends cleanly when it yields, which nobody would answer", function()
      local report = assert(revec.rebuild(options { embedder = function() coroutine.yield() end }))
      assert.equal("hook", report.reason)
      assert.matches("^embedder: .*yield", report.message)
      assert.equal(report.total, report.pending)
    end)

    it("is refused when its vectors are of another dimension than the index", function()
      assert(revec.rebuild(options { embedder = by_name }))
      local report = assert(revec.rebuild(options { embedder = function() return { 1, 2 } end, id = "path", force_reindex = true }))
      assert.equal("mismatch", report.reason)
      assert.matches("^dimension: the index has 3, the embedder 2: ", report.message)
      assert.same({ 0, 4 }, { report.failed, report.pending })
    end)

    it("sends the tags along", function()
      assert(revec.rebuild(options { embedder = by_name, tags = function(image) return image.id == "b" and "one,two" or nil end }))
      local store = assert(stores.open(dir .. "/index.sqlite"))
      assert.equal("one,two", store:get("b").tags)
      assert.is_nil(store:get("c").tags)
      store:close()
    end)

    it("refuses an id that the index cannot take, alone", function()
      local report = assert(revec.rebuild(options { embedder = by_name, id = function(image)
        return image.filename == "b.jpg" and ("b"):rep(600) or image.relative_path
      end }))
      assert.same({ 3, 1 }, { report.succeeded, report.failed })
      assert.equal("rejected", harness.records(dir)[1][1].kind)
    end)

    it("records a file that cannot be hashed, and an id that no index takes, though on_failure says retry", function()
      harness.shell("ln -s /nowhere " .. process.quote(storage .. "/dead.jpg"))
      harness.write(dir .. "/list", "dead.jpg\nx/a.jpg\n")
      local function retry() return "retry" end
      local report = assert(revec.rebuild(options { embedder = by_name, id = "sha256", files_from = dir .. "/list", on_failure = retry }))
      assert.same({ "done", 1, 1 }, { report.reason, report.succeeded, report.failed })
      report = assert(revec.rebuild(options { embedder = by_name, id = function(image) return ("i"):rep(600) .. image.filename end,
        on_failure = retry }))
      assert.same({ "done", 0, 3 }, { report.reason, report.succeeded, report.failed })
    end)

    it("counts the vectors that it holds though a failure is retried", function()
      local job = assert(revec.start(options { embedder = by_name, tags = function() return ("x"):rep(70000) end,
        on_failure = function() return "retry" end }))
      while job:step(1) do end -- luacheck: ignore
      assert.equal(3, job:report().failed)
      assert.equal(0, job.pipeline.held)
    end)

    it("stores what is embedded when it is stopped", function()
      local job
      job = assert(revec.start(options { id = "path", batch_size = 100, embedder = function(image)
        if image.id == "x/b.jpg" then job:stop() end
        return { 1, 2, 3 }
      end }))
      while job:step(1) do end -- luacheck: ignore
      local report = job:report()
      assert.equal("interrupted", report.reason)
      assert.equal(report.total, report.succeeded + report.pending)
      assert.is_true(report.succeeded >= 1)
      assert.equal(report.succeeded, #ids())
    end)
  end)

  describe("that cannot work", function()
    before_each(function() storage = harness.tree { "a.jpg" } end)

    it("ends with all that is not stored pending when the file can no longer be written", function()
      for i = 1, 20 do harness.write(("%s/%d.jpg"):format(storage, i), "x") end
      local report = assert(revec.rebuild(options { embedder = by_name, batch_size = 5, on_success = function()
        harness.write(dir .. "/index.sqlite", ("no longer what it was "):rep(4000))
      end }))
      assert.equal("index", report.reason)
      assert.matches("index.sqlite: ", report.message)
      assert.same({ 5, 0, 16 }, { report.succeeded, report.failed, report.pending })
    end)

    local function refused(...)
      local run = command(...)
      return run.code, run.stderr
    end

    it("says what of the flags does not go together", function()
      for _, case in ipairs {
        { { "--swap" }, "%-%-swap: only with recreate" },
        { { "--recreate", "--yes", "--retry-failed", "failed.json" }, "%-%-recreate: not together with retry_failed" },
        { { "--recreate", "--swap", "--shard", "1/2" }, "%-%-swap: not together with shard" },
        { { "--check", "list" }, "%-%-check: a direct rebuild" },
        { { "--embedder", "jna" }, '%-%-embedder: "jna": no such embedder: did you mean jina%?' },
        { { "--embedder", "nothing.lua" }, "%-%-embedder: .*nothing.lua" },
        { { "--embedder", "jina", "--token-env", "NO_SUCH_TOKEN" }, "NO_SUCH_TOKEN is not set" },
        { { "--index", "http://localhost:6333/images" }, "%-%-index: .*KIND%+http" },
        { { "--index", "qdrnt+http://localhost:6333/images" }, "did you mean qdrant%?" },
      } do
        local code, stderr = refused(unpack(case[1]))
        assert.equal(2, code, stderr)
        assert.matches(case[2], stderr)
        assert.equal(1, select(2, stderr:gsub("\n", "\n")), stderr)
      end
      local without = harness.run { args = { "--recreate", "--storage-path", storage }, cwd = dir }
      assert.equal(2, without.code)
      assert.matches("%-%-recreate: only with direct", without.stderr)
    end)

    it("shows no credentials of what it does not understand", function()
      for _, changes in ipairs {
        { embedder = "jina+HTTPS://me:secret@host/v1" }, { embedder = "openai+ftp://me:secret@host#m" },
        { index = "qdrant+HTTP://me:secret@host/images" }, { index = "mysql://me:secret@host/images" },
      } do
        local job, why = revec.start(options(changes))
        assert.is_nil(job)
        assert.is_nil(why:find("secret", 1, true), why)
        assert.matches("//%*%*%*@host", why)
      end
    end)

    it("says what of the settings has a wrong type, in one line", function()
      local function why(changes)
        local job, message = revec.start(options(changes))
        assert.is_nil(job)
        assert.is_nil(message:find("\n"))
        return message
      end
      for _, case in ipairs {
        { { embedder = {} }, "^embedder: .*no such embedder" },
        { { embedder = { kind = "jina", url = 5 } }, "^embedder: url: a text expected" },
        { { embedder = { kind = "jina", token_env = {} } }, "^embedder: token_env: a text expected" },
        { { embedder = { kind = "jina", token_env = false, headers = { 5 } } }, "^embedder: headers: strings" },
        { { embedder = { kind = "jina", token_env = false, headers = { "X: a\nY: b" } } }, "^embedder: headers: strings without line breaks" },
        { { index = { kind = "sqlite" } }, "^index: path: the path" },
        { { index = { kind = "sqlite", path = "" } }, "^index: path: a text expected" },
        { { index = { kind = "chroma" } }, "^index: url: a URL" },
        { { index = { kind = "chroma", url = "http://localhost", collection = "abc", tenant = {} } }, "^index: tenant: a text expected" },
        { { index = print }, "^index: .*no such index" },
      } do
        assert.matches(case[2], why(case[1]))
      end
    end)

    it("says why the index is no use, in one line", function()
      harness.write(dir .. "/index.sqlite", "no database, though it is long enough to be read as the beginning of one")
      local code, stderr = refused()
      assert.equal(2, code, stderr)
      assert.matches("^revec: %-%-index: index.sqlite: not a database: [^\n]*\n$", stderr)
    end)
  end)
end)
