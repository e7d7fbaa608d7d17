-- Which images are taken: by patterns, size, time and shard, from the walk, a list or a record.

require "spec.support.paths"
local cjson = require "cjson"
local core = require "revec.core"
local harness = require "spec.support.harness"
local lfs = require "lfs"
local process = require "spec.support.process"
local revec = require "revec"
local server = require "spec.support.server"
local units = require "revec.units"

-- What a dry run takes, in its order; its report; and the entries of the list that are no use, each with the reason.
local function select(options)
  local taken, refused = {}, {}
  options.dry_run = true
  options.filter = options.filter or function(image)
    taken[#taken + 1] = image.relative_path
    return true
  end
  options.on_event = { entry = function(text, why) refused[#refused + 1] = { text, why } end }
  local job = assert(revec.start(options))
  while job:step(1) do end -- luacheck: ignore
  local report = job:report()
  -- What is counted early is what is taken; a list that is no file is not counted early.
  assert.same({ #taken, true }, { report.total, report.total_known })
  return taken, report, refused
end

-- The number of images that is known before any was taken.
local function early_total(options)
  options.dry_run = true
  local job = assert(revec.start(options))
  local deadline, snapshot = core.now() + 30
  repeat snapshot = job:snapshot() until snapshot.total_known or core.now() > deadline
  job:abort()
  assert.is_true(snapshot.total_known)
  return snapshot.total
end

describe("which images", function()
  after_each(harness.cleanup)
  local names = { "1.jpg", "a/1x.jpg", "a/2.png", "b/cache/3.jpg", "b/cache.jpg", "c/notes.txt", "cache/4.jpg" }

  local function taken(more)
    local options = { storage_path = harness.tree(names) }
    for key, value in pairs(more) do options[key] = value end
    local list, report = select(options)
    return table.concat(list, " "), report.filtered
  end

  it("include says, by name or by path", function()
    assert.same({ "a/2.png", 5 }, { taken { include = { "*.png" } } })
    assert.same({ "1.jpg a/1x.jpg a/2.png", 3 }, { taken { include = { "[0-9].jpg", "a/*" }, exclude = { "3.jpg", "4.jpg" } } })
    assert.same({ "", 6 }, { taken { include = { "*.JPG" } } })
  end)

  it("exclude says, and a folder that it matches is not opened", function()
    assert.same({ "1.jpg a/1x.jpg a/2.png b/cache.jpg", 0 }, { taken { exclude = { "cache" } } })
    assert.same({ "1.jpg a/1x.jpg a/2.png b/cache/3.jpg b/cache.jpg", 0 }, { taken { exclude = { "/cache/" } } })
    assert.same({ "1.jpg b/cache/3.jpg cache/4.jpg", 3 }, { taken { exclude = { "a/**", "b/*.jpg" } } })
    local dir = harness.tree { "a.jpg", "closed/b.jpg" }
    harness.shell("chmod 000 '" .. dir .. "/closed'; chmod 755 '" .. dir .. "'")
    local result = harness.run {
      command = { "setpriv", "--bounding-set=-all", "--inh-caps=-all", "sh", "-c", harness.lua_command() .. " '"
        .. harness.root .. "/rebuild.lua' --dry-run --exclude closed --storage-path '" .. dir .. "'" },
      env = { LC_ALL = "C" },
    }
    harness.shell("chmod 755 '" .. dir .. "/closed'")
    assert.equal(0, result.code, result.output)
  end)

  it("size and time say", function()
    local dir = harness.tree { "gone.jpg" }
    process.write(dir .. "/small.jpg", ("x"):rep(1023))
    process.write(dir .. "/large.jpg", ("x"):rep(1024))
    lfs.touch(dir .. "/small.jpg", 1000, 1000)
    lfs.touch(dir .. "/large.jpg", 2000, 2000)
    os.remove(dir .. "/gone.jpg")
    local function sift(options)
      options.storage_path = dir
      local list, report = select(options)
      return { table.concat(list, " "), report.filtered }
    end
    assert.same({ "large.jpg", 1 }, sift { min_size = "1k" })
    assert.same({ "large.jpg small.jpg", 0 }, sift { min_size = 1023, max_size = "1K" })
    assert.same({ "small.jpg", 1 }, sift { max_size = 1023 })
    assert.same({ "large.jpg", 1 }, sift { newer_than = "@1000" })
    assert.same({ "large.jpg small.jpg", 0 }, sift { newer_than = "@999.5" })
    assert.same({ "", 2 }, sift { newer_than = "1d" })
    -- One that is gone is let through: whoever uses it says so.
    harness.write(dir .. "/list", "gone.jpg\nsmall.jpg\n")
    assert.same({ "gone.jpg", 1 }, sift { files_from = dir .. "/list", min_size = "1k" })
  end)

  it("are counted before they are taken as they are taken", function()
    local many = {}
    for i = 1, 200 do many[i] = ("%d/%d.%s"):format(i % 7, i, i % 3 == 0 and "png" or "jpg") end
    local dir = harness.tree(many)
    harness.write(dir .. "/list", table.concat(many, "\n") .. "\n../x.jpg\n")
    for _, case in ipairs {
      { include = { "*.png" } }, { exclude = { "3", "1?.jpg" } }, { shard = "2/3" }, { newer_than = "1w", max_size = 7 },
      { shard = "1/2", files_from = dir .. "/list", exclude = { "4" } }, { files_from = dir .. "/list" }, { limit = 5, shard = "1/2" },
    } do
      case.storage_path = dir
      local early = early_total(case)
      assert.equal(#select(case), early)
      assert.is_true(early > 0)
    end
  end)
end)

describe("a shard", function()
  after_each(harness.cleanup)

  it("is FNV-1a of 64 bits, its halves xor'ed, modulo N", function()
    -- Published values: a af63dc4c8601ec8c, foobar 85944171f73967e8, the empty id cbf29ce484222325.
    for id, folded in pairs { a = 0x296230C0, foobar = 0x72AD2699, [""] = 0x4FD0BFC1 } do
      for _, n in ipairs { 1, 2, 3, 10, 1000, 2 ^ 32 - 1 } do assert.equal(folded % n + 1, core.shard(id, n)) end
    end
  end)

  it("is about as large as any other", function()
    for _, n in ipairs { 2, 8, 10 } do
      local sizes = {}
      for k = 1, n do sizes[k] = 0 end
      for i = 1, 20000, 2 do
        local k = core.shard(("IMG_%06d"):format(i), n)
        sizes[k] = sizes[k] + 1
      end
      for k = 1, n do assert.is_true(math.abs(sizes[k] * n / 10000 - 1) < 0.15, k .. " of " .. n .. ": " .. sizes[k]) end
    end
  end)

  it("is the same from walk, list, record and hook, and the shards are the whole", function()
    local names, entries = {}, {}
    for i = 1, 60 do
      names[i] = ("%d/%d.jpg"):format(i % 3, i)
      entries[i] = { path = names[i] }
    end
    local dir = harness.tree(names)
    harness.write(dir .. "/list", table.concat(names, "\n"))
    harness.write(dir .. "/record", cjson.encode(entries))
    local seen = 0
    for k = 1, 3 do
      local shard = k .. "/3"
      local walked = select { storage_path = dir, shard = shard }
      local listed = select { storage_path = dir, shard = shard, files_from = dir .. "/list" }
      local again = select { storage_path = dir, shard = shard, retry_failed = dir .. "/record" }
      local hooked = {}
      local report = revec.rebuild {
        storage_path = dir, shard = shard, dry_run = true,
        id = function(image)
          if core.shard(image.id, 3) == k then hooked[#hooked + 1] = image.relative_path end
          return image.id
        end,
      }
      assert.equal(#walked, report.total)
      for _, list in ipairs { walked, listed, again, hooked } do table.sort(list) end
      assert.same({ walked, walked, walked }, { listed, again, hooked })
      seen = seen + #walked
    end
    assert.equal(60, seen)
  end)

  it("comes from SLURM or Kubernetes when it is auto", function()
    local dir = harness.tree { "a.jpg" }
    local function auto(env)
      for _, name in ipairs { "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT",
                              "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS" } do env[name] = env[name] or false end
      env.LC_ALL = "C"
      local result = harness.run { args = { "--dry-run", "--storage-path", dir, "--shard", "auto" }, env = env }
      return result.stderr:match("Total images: (%d)") or result.output
    end
    local mine = core.shard("a", 3)
    for k = 1, 3 do
      local expected = k == mine and "1" or "0"
      assert.equal(expected, auto { SLURM_ARRAY_TASK_ID = tostring(k + 4), SLURM_ARRAY_TASK_MIN = "5", SLURM_ARRAY_TASK_COUNT = "3" })
      assert.equal(expected, auto { JOB_COMPLETION_INDEX = tostring(k - 1), JOB_COMPLETIONS = "3" })
    end
    assert.equal(mine == 2 and "1" or "0", auto { SLURM_ARRAY_TASK_ID = "4", SLURM_ARRAY_TASK_MIN = "0",
      SLURM_ARRAY_TASK_STEP = "4", SLURM_ARRAY_TASK_COUNT = "3" })
    assert.equal("revec: --shard: auto: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set\n", auto {})
    assert.equal("revec: --shard: auto: JOB_COMPLETIONS is not set: how many tasks there are\n", auto { JOB_COMPLETION_INDEX = "0" })
    assert.equal("revec: --shard: auto: the environment makes this shard 9 of 3: tasks without a gap expected\n",
      auto { SLURM_ARRAY_TASK_ID = "9", SLURM_ARRAY_TASK_COUNT = "3" })
  end)
end)

describe("a list of paths", function()
  local dir, list
  before_each(function()
    dir = harness.tree { "a.jpg", "sub/b.jpg" }
    list = dir .. "/list"
  end)
  after_each(harness.cleanup)

  local function listed(text, more)
    harness.write(list, text)
    local options = more or {}
    options.storage_path, options.files_from = options.storage_path or dir, list
    local taken, report, refused = select(options)
    return taken, refused, report
  end

  it("ends its lines in LF or CRLF, the last in nothing, and may hold empty ones", function()
    assert.same({ "a.jpg", "sub/b.jpg" }, (listed "a.jpg\nsub/b.jpg\n"))
    assert.same({ "a.jpg", "sub/b.jpg" }, (listed "\n\r\na.jpg\r\n\r\n\nsub/b.jpg"))
    assert.same({}, (listed ""))
    assert.same({}, (listed "\n"))
  end)

  it("may end its paths in NUL: then names hold anything", function()
    local names = { "a\nb.jpg", "c\r.jpg", "\255\254.jpg", " .jpg" }
    assert.same(names, (listed(table.concat(names, "\0") .. "\0")))
    assert.same(names, (listed("\0\0" .. table.concat(names, "\0"))))
    assert.same({ "\255.jpg", "a.jpg" }, (listed "\255.jpg\na.jpg"))
  end)

  it("names files below the storage in any way that leads there", function()
    assert.same({ "x.jpg", "y.jpg", "sub/z.jpg", "w.jpg", "v.jpg" },
      (listed(table.concat({ "./x.jpg", "sub/../y.jpg", "sub//./z.jpg", dir .. "/w.jpg", dir .. "/../" .. dir:match("[^/]*$") .. "/v.jpg" }, "\n"))))
    local home = lfs.currentdir()
    local base, name = dir:match("^(.*)/([^/]*)$")
    assert(lfs.chdir(base))
    local ok, taken = pcall(listed, name .. "/a.jpg\n./" .. name .. "/b.jpg\nc.jpg\n", { storage_path = "./" .. name .. "/" })
    assert(lfs.chdir(home))
    assert.is_true(ok, taken)
    assert.same({ "a.jpg", "b.jpg", "c.jpg" }, taken)
  end)

  it("refuses what is outside the storage, path by path, and goes on", function()
    local outside = { "../x.jpg", "sub/../../y.jpg", "/etc/z.jpg", dir .. "x/a.jpg", dir .. "/../b.jpg", ".." }
    local taken, refused, report = listed(table.concat(outside, "\n") .. "\na.jpg\n")
    assert.same({ "a.jpg" }, taken)
    assert.equal(#outside, report.entries)
    for i, path in ipairs(outside) do assert.same({ path, "it is outside the storage" }, refused[i]) end
  end)

  it("refuses a path that is too long, once, however long it is, and one with a NUL in it", function()
    local longest = ("x"):rep(4091) .. ".jpg"
    for _, length in ipairs { 4096, 4097, 5000, 65535, 65536, 65537, 3000000 } do
      local taken, refused = listed("a.jpg\n" .. ("y"):rep(length) .. "\n" .. longest .. "\r\nb.jpg\n")
      assert.equal(1, #refused)
      assert.same({ ("y"):rep(256), "longer than any path may be" }, refused[1])
      assert.same({ 3, "a.jpg", "b.jpg" }, { #taken, taken[1], taken[3] })
      assert.is_true(taken[2] == longest)
    end
    local _, refused = listed("a.jpg\n" .. ("y"):rep(3000000))
    assert.equal(1, #refused)
    local lines = {}
    for i = 1, 1000 do lines[i] = i .. ".jpg\n" end
    local taken, with_nul = listed(table.concat(lines) .. "b\0c.jpg\nd.jpg")
    assert.same({ 1001, "it holds a NUL byte" }, { #taken, with_nul[1][2] })
  end)

  it("counts as filtered what is no image, and what the options leave out", function()
    local taken, _, report = listed("a.jpg\nnotes.txt\nsub\nsub/b.jpg\n.\nx.png", { exclude = { "sub" } })
    assert.same({ "a.jpg", "x.png" }, taken)
    assert.equal(4, report.filtered)
  end)

  it("says in one line why it cannot be read", function()
    for path, why in pairs { [dir .. "/none"] = "No such file or directory", [dir] = "Is a directory" } do
      assert.same({ nil, "files_from: " .. path .. ": " .. why }, { revec.rebuild { storage_path = dir, files_from = path } })
    end
    assert.same({ nil, "files_from: not together with retry_failed: both say which images" },
      { revec.rebuild { storage_path = dir, files_from = "a", retry_failed = "b" } })
  end)

  it("comes slowly, from a pipe with a name, and holds up nobody", function()
    harness.shell("mkfifo '" .. dir .. "/pipe'")
    local job = assert(revec.start { storage_path = dir, files_from = dir .. "/pipe", dry_run = true })
    for _ = 1, 3 do assert.is_true(job:step(0.01)) end
    job:abort()
    assert.same({ "interrupted", 0 }, { job:report().reason, job:report().total })
    job = assert(revec.start { storage_path = dir, files_from = dir .. "/pipe", dry_run = true })
    local pipe = assert(io.open(dir .. "/pipe", "w"))
    pipe:write("a.jpg\nsub/")
    pipe:flush()
    for _ = 1, 3 do assert.is_true(job:step(0.01)) end
    pipe:write("b.jpg")
    pipe:close()
    while job:step(1) do end -- luacheck: ignore
    assert.same({ "done", 2 }, { job:report().reason, job:report().total })
  end)

  it("holds names of any bytes, which log and record carry too", function()
    local s = server.start [[return function(request, reply)
      if request.method == 'GET' then return reply.not_indexed() end
      reply.json(400, '{"detail":"no"}')
    end]]
    local name = "new\nline \255\27[31m.jpg"
    harness.write(dir .. "/" .. name, "")
    local args = { "--api-url", s.url, "--storage-path", dir, "--progress", "never", "--lang", "en" }
    local function failed(more, stdin)
      for i = #args, 9, -1 do args[i] = nil end
      for _, argument in ipairs(more) do args[#args + 1] = argument end
      local result = harness.run { args = args, stdin = stdin }
      assert.equal(1, result.code, result.output)
      assert.is_truthy(result.stderr:find("Image: new\\nline \239\191\189\\x1b[31m.jpg (", 1, true), result.stderr)
      local entry = harness.records(result.cwd)[1][1]
      assert.equal(dir .. "/" .. name, core.unbase64(entry.path_base64))
      return result.cwd .. "/" .. harness.list(result.cwd)[1]
    end
    local record = failed({ "--files-from", "-" }, name .. "\0")
    failed({ "--retry-failed", record })
    failed({ "--include", "new?line*" })
    s:stop()
  end)
end)

describe("units", function()
  it("reads sizes to the base of 1024", function()
    for text, bytes in pairs { ["0"] = 0, ["500"] = 500, ["1k"] = 1024, ["2M"] = 2 ^ 21, ["3g"] = 3 * 2 ^ 30, ["8192K"] = 2 ^ 23 } do
      assert.equal(bytes, units.size(text))
    end
    for _, bad in ipairs { "", "k", "-1", "1.5M", "1kb", "1 k", "0x10", "1e3", "99999999G", -1, 0.5, 1 / 0, 0 / 0, {}, true } do
      assert.is_nil(units.size(bad))
    end
  end)

  it("reads dates, Unix seconds and ages", function()
    assert.equal(os.time { year = 2026, month = 1, day = 25, hour = 0 }, units.time "2026-01-25")
    assert.equal(os.time { year = 2024, month = 2, day = 29, hour = 12, min = 30 }, units.time "2024-02-29 12:30")
    assert.equal(os.time { year = 2024, month = 2, day = 29, hour = 12, min = 30, sec = 59 }, units.time "2024-02-29T12:30:59")
    assert.equal(1700000000.25, units.time "@1700000000.25")
    assert.equal(12, units.time(12))
    for age, seconds in pairs { ["90s"] = 90, ["30m"] = 1800, ["12h"] = 43200, ["7d"] = 604800, ["2w"] = 1209600 } do
      assert.is_true(math.abs(os.time() - seconds - units.time(age)) <= 2, age)
    end
    for _, bad in ipairs { "", "yesterday", "2026-13-01", "2026-02-30", "2026-1-5", "2026-01-25 24:00", "2026-01-25 12:60",
                           "2026-01-25 12", "2026-01-25 12:30:", "@", "@x", "7", "-7d", "7y", "1.5h", 0 / 0, 1e13, {} } do
      assert.is_nil(units.time(bad), tostring(bad))
    end
  end)
end)
