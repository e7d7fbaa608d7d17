-- What a file system may do to a run: a full disk, a folder that is read-only, gone, or in itself.
local harness = require "spec.support.harness"
local namespace = require "spec.support.namespace"
local server = require "spec.support.server"

-- Every image fails, with so many bytes of a reason.
local function failing(bytes)
  return string.format([[return function(request, reply)
    if request.method == "GET" then return reply.not_indexed() end
    reply.json(400, '{"detail":"%s"}')
  end]], ("x"):rep(bytes))
end

local function tree(n)
  local names = {}
  for i = 1, n do names[i] = string.format("%03d.jpg", i) end
  return harness.tree(names)
end

local function finish()
  server.stop_all()
  namespace.close_all()
  harness.cleanup()
end

local function staged(name, body)
  it(name, function()
    local space, why = namespace.new()
    if not space then return pending(why) end
    body(space)
  end)
end

local function run(space, storage, s, args)
  local all = { "--storage-path", storage, "--api-url", s.url }
  for _, argument in ipairs(args) do all[#all + 1] = argument end
  return harness.run { inside = space, args = all, env = { LC_ALL = "C" } }
end

local function counts(result)
  local found = {}
  for name, n in result.stderr:gmatch(" %- INFO %- ([%a ]+): (%d+)\n") do found[name] = tonumber(n) end
  return found
end

-- The one file that a run left in a folder, and its lines.
local function left_in(dir)
  local names = harness.list(dir)
  assert.equal(1, #names, table.concat(names, " "))
  local lines = {}
  for line in harness.read(dir .. "/" .. names[1]):gmatch("[^\n]*\n") do lines[#lines + 1] = line end
  return names[1], lines
end

describe("the record's folder", function()
  local dir
  before_each(function() dir = harness.tempdir() end)
  after_each(finish)

  -- On a disk of so many bytes of its own.
  local function disk(space, bytes)
    space:shell(string.format("mount -t tmpfs -o size=%d none '%s'", bytes, dir))
  end

  -- With room again, the next run makes the record of what stands in the journal.
  local function next_run_repairs(space, s, entries)
    space:shell(string.format("mount -o remount,size=1m '%s'", dir))
    local result = run(space, harness.tempdir(), s, { "--failed-dir", dir })
    assert.equal(0, result.code, result.output)
    assert.matches("WARNING %- Record of an interrupted run made: ", result.stderr)
    assert.equal(entries, #harness.records(space:path(dir))[1])
    assert.equal(1, #harness.list(space:path(dir)))
  end

  staged("that is full in mid-run (H5) stops it with one line; what was recorded stays, the rest is pending", function(space)
    disk(space, 8192)
    local s = server.start(failing(200), { inside = space })
    local result = run(space, tree(80), s, { "--failed-dir", dir })
    local told = counts(result)
    assert.same({ 1, 80, 0 }, { result.code, told.Failed + told.Pending, told.Succeeded }, result.output)
    assert.is_true(told.Pending > 0, result.output)
    assert.matches("ERROR %- Failures cannot be recorded: [^\n]*No space left on device[^\n]*\n", result.stderr)
    local name, lines = left_in(space:path(dir))
    assert.matches("%.journal$", name)
    -- All that failed before the disk was full; the last line may be half a line.
    local entries = 0
    for _, line in ipairs(lines) do
      if line:find('"sends": %d+\t\n$') then entries = entries + 1 end
    end
    assert.is_true(entries >= 10 and entries < told.Failed, entries)
    next_run_repairs(space, s, entries)
  end)

  staged("that has room for the journal alone (H5) keeps that, and one line says where", function(space)
    disk(space, 12288)
    local s = server.start(failing(200), { inside = space })
    local result = run(space, tree(25), s, { "--failed-dir", dir })
    local told = counts(result)
    assert.same({ 1, 25, nil }, { result.code, told.Failed, told.Pending }, result.output)
    local name, lines = left_in(space:path(dir))
    assert.equal(25, #lines)
    assert.matches("ERROR %- Failures cannot be recorded: [^\n]*No space left on device; the failures are in [^\n]*" .. name:gsub("%p", "%%%0") .. "\n", result.stderr)
    next_run_repairs(space, s, 25)
  end)

  staged("that is on a read-only disk (H23) is refused before anything is asked", function(space)
    disk(space, 8192)
    space:shell(string.format("mount -o remount,ro '%s'", dir))
    local s = server.start(failing(1), { inside = space })
    local result = run(space, tree(3), s, { "--failed-dir", dir })
    assert.equal(2, result.code)
    assert.matches("^revec: %-%-failed%-dir: [^\n]*: Read%-only file system\n$", result.output)
    assert.equal(0, #s:requests())
  end)

  it("that goes away in mid-run is told of in one line, which names nothing that is not there", function()
    local s = server.start((failing(1):gsub("reply%.json", "os.execute(\"rm -rf '" .. dir .. "'\") %0")))
    local result = run(nil, tree(3), s, { "--failed-dir", dir })
    require("lfs").mkdir(dir)
    assert.same({ 1, 3 }, { result.code, counts(result).Failed }, result.output)
    assert.matches("ERROR %- Failures cannot be recorded: the record cannot be written: [^\n]*: No such file or directory\n", result.stderr)
  end)
end)

describe("the storage", function()
  after_each(finish)

  it("that goes away under the walk (F25) is told of and counted, and the exit code is 1", function()
    -- More names in one folder than the walk hands out ahead, so that it has not come to the others yet.
    local names = { "b/in b.jpg", "c/in c.jpg", "a/0.jpg" }
    for i = 1, 6000 do names[#names + 1] = string.format("a/%04d.skip.jpg", i) end
    local storage = harness.tree(names)
    local config = harness.tempdir() .. "/config.lua"
    harness.write(config, string.format([[
      local storage, gone = %q, false
      return { filter = function(image)
        for _, folder in ipairs(gone and {} or { "b", "c" }) do
          assert(os.remove(storage .. "/" .. folder .. "/in " .. folder .. ".jpg"))
          assert(os.remove(storage .. "/" .. folder))
        end
        gone = true
        return not image.filename:find("skip", 1, true)
      end }]], storage))
    local s = server.start "return function(request, reply) reply.correctly() end"
    local result = run(nil, storage, s, { "--config", config })
    local told = counts(result)
    assert.same({ 1, 1, 1, 0, 6000, 2, nil }, { result.code, told["Total images"], told.Succeeded, told.Failed, told.Filtered,
      told["Unreadable folders"], told.Pending }, result.output)
    for _, folder in ipairs { "b", "c" } do
      assert.is_truthy(result.stderr:find("WARNING - Folder cannot be read: " .. storage .. "/" .. folder .. ": No such file or directory\n", 1, true))
    end
  end)

  staged("that is mounted within itself (F11) is walked to an end, its images taken once", function(space)
    local storage = harness.tree { "a.jpg", "b.jpg", "loop/loop/here.txt" }
    space:shell(string.format("mount --rbind '%s' '%s/loop'; mount --rbind '%s' '%s/loop/loop'", storage, storage, storage, storage))
    local s = server.start("return function(request, reply) reply.correctly() end", { inside = space })
    local result = run(space, storage, s, {})
    local told = counts(result)
    assert.same({ 0, 2, 2 }, { result.code, told.Succeeded, s:count("^POST ") }, result.output)
    assert.is_true(told.Duplicates >= 4, result.output)
  end)
end)
