require "spec.support.paths"
local cjson = require "cjson"
local core = require "revec.core"
local harness = require "spec.support.harness"
local images = require "revec.image"
local records = require "revec.record"

local function failure(changes)
  local f = { kind = "backend_error", status = 500, message = "Internal Server Error", attempts = 4, sends = 5 }
  for key, value in pairs(changes or {}) do f[key] = value end
  return f
end

local function image(relative_path, id)
  return images.new("/photos/", relative_path, id or relative_path)
end

local function journals(dir)
  local found = {}
  for _, name in ipairs(harness.list(dir)) do
    if name:find("%.journal$") then found[#found + 1] = name end
  end
  return found
end

-- Does the work, and something else between its opening of a journal and the lock, as another process might.
local function between(something, work)
  local lock = core.lock
  finally(function() core.lock = lock end)
  core.lock = function(...)
    core.lock = lock
    something()
    return lock(...)
  end
  return work()
end

describe("record", function()
  local dir
  before_each(function() dir = harness.tempdir() end)
  after_each(harness.cleanup)

  it("is the guide's array of objects, with more fields behind", function()
    local record = assert(records.open(dir))
    record:add(image("2024/image3.jpg", "xyz789"), failure())
    record:add(image("image4.png", "uvw012"), failure { kind = "timeout", status = false, message = "Timeout" })
    local path = assert(record:close())
    assert.matches("/failed_images_%d%d%d%d%d%d%d%d_%d%d%d%d%d%d%.json$", path)
    assert.equal([=[
[
  {
    "id": "xyz789",
    "filename": "image3.jpg",
    "path": "/photos/2024/image3.jpg",
    "error": "Internal Server Error",
    "kind": "backend_error",
    "status": 500,
    "attempts": 4,
    "sends": 5
  },
  {
    "id": "uvw012",
    "filename": "image4.png",
    "path": "/photos/image4.png",
    "error": "Timeout",
    "kind": "timeout",
    "status": null,
    "attempts": 4,
    "sends": 5
  }
]
]=], harness.read(path))
    assert.same({ path:match("[^/]*$") }, harness.list(dir))
  end)

  it("leaves nothing behind when nothing failed", function()
    local record = assert(records.open(dir))
    assert.equal(1, #journals(dir))
    assert.is_nil(record:close())
    assert.same({}, harness.list(dir))
  end)

  it("takes another name when its own is taken", function()
    local paths = {}
    for i = 1, 3 do
      local record = assert(records.open(dir))
      record:add(image("a.jpg"), failure())
      paths[i] = assert(record:close())
    end
    local stamp = paths[1]:match("(.*)%.json$")
    -- The second may have turned in between.
    if paths[2]:find(stamp, 1, true) then assert.equal(stamp .. "_2.json", paths[2]) end
    assert.are_not.equal(paths[1], paths[2])
    assert.are_not.equal(paths[2], paths[3])
  end)

  -- Closes its records when a second begins, as the others do.
  local CLOSER = [[
    package.path, package.cpath = arg[3], arg[4]
    local record, image = require "revec.record", require("revec.image").new("/p/", arg[2] .. ".jpg", arg[2])
    local socket = require "socket"
    for round = 1, 4 do
      local r = assert(record.open(arg[1]))
      r:add(image, { kind = "timeout", message = "Timeout " .. round, attempts = 1, sends = 1 })
      socket.sleep(0.15 - socket.gettime() % 0.15)
      assert(r:close())
    end
  ]]

  it("takes another name when its own is taken, though many runs end at once", function()
    local script = harness.tempdir() .. "/closer.lua"
    harness.write(script, CLOSER)
    local running = {}
    for i = 1, 8 do
      local command = harness.lua_words()
      for _, word in ipairs { script, dir, tostring(i), package.path, package.cpath } do command[#command + 1] = word end
      running[i] = harness.spawn { command = command, cwd = harness.root }
    end
    for _, run in ipairs(running) do
      local result = run:wait()
      assert.equal(0, result.code, result.output)
    end
    local seen, count = {}, 0
    for _, name in ipairs(harness.list(dir)) do
      local failed = cjson.decode(harness.read(dir .. "/" .. name))
      assert.equal(1, #failed, name)
      count = count + 1
      seen[failed[1].id .. failed[1].error] = true
    end
    assert.equal(32, count)
    for i = 1, 8 do
      for round = 1, 4 do assert.is_true(seen[i .. "Timeout " .. round], i .. " of round " .. round .. " is lost") end
    end
  end)

  it("is one for each of two runs of one process in the same second", function()
    local open = { assert(records.open(dir)), assert(records.open(dir)) }
    for i, record in ipairs(open) do record:add(image(i .. ".jpg"), failure()) end
    for i, record in ipairs(open) do
      local failed = cjson.decode(harness.read(assert(record:close())))
      assert.same({ 1, i .. ".jpg" }, { #failed, failed[1].id })
    end
  end)

  it("keeps its journal when a repair comes while it is opened", function()
    local opened = between(function() records.repair(dir) end, function() return records.open(dir) end)
    opened:add(image("a.jpg"), failure())
    assert.equal(1, #journals(dir))
    assert.matches('"a.jpg"', harness.read(dir .. "/" .. journals(dir)[1]))
    assert(opened:close())
  end)

  it("is made in a folder without locks, too", function()
    local lock = core.lock
    finally(function() core.lock = lock end)
    core.lock = function() return nil, "Function not implemented", 38 end
    local record = assert(records.open(dir))
    record:add(image("a.jpg"), failure())
    assert.same({}, records.repair(dir)) -- it cannot be told whether the run is alive
    assert.equal(1, #cjson.decode(harness.read(assert(record:close()))))
  end)

  it("stays a journal when the disk does not take it (H6), for the next run to make it", function()
    local sync = core.sync
    finally(function() core.sync = sync end)
    core.sync = function() return nil, "Input/output error", 5 end
    local record = assert(records.open(dir))
    record:add(image("a.jpg"), failure())
    local path, why = record:close()
    assert.is_nil(path)
    assert.matches("^Input/output error; the failures are in " .. dir:gsub("%p", "%%%0") .. "/failed_images_[%d_.]+journal$", why)
    assert.equal(1, #harness.list(dir))
    core.sync = sync
    assert.equal("a.jpg", cjson.decode(harness.read(records.repair(dir)[1]))[1].id)
  end)

  it("carries names of any bytes", function()
    local name = 'tab\tline\nquote"back\\slash\255.jpg'
    local record = assert(records.open(dir))
    record:add(image(name, "\255"), failure { message = 'a\tb\n"c"' })
    local entry = cjson.decode(harness.read(assert(record:close())))[1]
    assert.equal("/photos/" .. name, core.unbase64(entry.path_base64))
    assert.equal('tab\tline\nquote"back\\slash\239\191\189.jpg', entry.filename)
    assert.equal("\239\191\189", entry.id)
    assert.equal('a\tb\n"c"', entry.error)
  end)

  it("has each failure on the disk as it happens", function()
    local record = assert(records.open(dir))
    record:add(image("a.jpg"), failure())
    assert.matches('"id": "a.jpg"', harness.read(dir .. "/" .. journals(dir)[1]))
    record:close()
  end)

  it("says why it cannot be opened", function()
    local record, why = records.open(dir .. "/missing")
    assert.is_nil(record)
    assert.matches("/missing/failed_images_.*: No such file or directory$", why)
  end)
end)

describe("record.repair", function()
  local dir
  before_each(function() dir = harness.tempdir() end)
  after_each(harness.cleanup)

  local whole = '"id": "a"\t"filename": "a.jpg"\t"path": "/p/a.jpg"\t"error": "e"\t"kind": "timeout"\t"status": null\t"attempts": 1\t"sends": 1\t\n'

  it("makes the record of a run that was killed, its half line left out", function()
    for cut = 1, #whole - 2 do -- with but its line break missing an entry is whole
      local name = dir .. "/failed_images_20240125_100130." .. cut .. ".journal"
      harness.write(name, whole .. whole:sub(1, cut))
      local made = records.repair(dir)
      assert.equal(1, #made)
      assert.equal(1, #cjson.decode(harness.read(made[1])))
      os.remove(made[1])
      assert.same({}, harness.list(dir))
    end
  end)

  it("makes the record of what is whole in a journal that a power loss left with zeros or damage in it", function()
    for _, damage in ipairs { ("\0"):rep(4096), ("\0"):rep(4096) .. "\n", (whole:gsub('"kind"', "kind")), whole:sub(20) } do
      harness.write(dir .. "/failed_images_20240125_100130.77.journal", whole .. damage .. (damage:sub(-1) == "\n" and whole or ""))
      local made = records.repair(dir)
      assert.equal(damage:sub(-1) == "\n" and 2 or 1, #cjson.decode(harness.read(made[1])))
      os.remove(made[1])
    end
  end)

  it("leaves out lines that would spoil the record, and keeps those beside them", function()
    local spoiled = { { '"e"', '"a\tb"' }, { '"e"', '"a\1b"' }, { '"e"', '"a\255b"' }, { '"e"', '"a\0b"' }, { "null", "nan" },
      { "null", "0x10" }, { '"path": "/p/a.jpg"\t', "" }, { '"error"', "error" }, { '\t"error"', '\t\t"error"' } }
    for _, change in ipairs(spoiled) do
      local line = whole:gsub(change[1], change[2])
      harness.write(dir .. "/failed_images_20240125_100130.1.journal", whole .. line .. whole)
      local made = records.repair(dir)
      assert.equal(2, #cjson.decode(harness.read(made[1])), line)
      os.remove(made[1])
    end
  end)

  it("removes the journal of a killed run in which nothing had failed", function()
    harness.write(dir .. "/failed_images_20240125_100130.77.journal", "")
    assert.same({}, records.repair(dir))
    assert.same({}, harness.list(dir))
  end)

  it("makes one record where two repairs come at once", function()
    harness.write(dir .. "/failed_images_20240125_100130.77.journal", whole)
    local first
    local second = between(function() first = records.repair(dir) end, function() return records.repair(dir) end)
    assert.same({ 1, 0 }, { #first, #second })
    assert.same({ "failed_images_20240125_100130.json" }, harness.list(dir))
  end)

  it("begins anew what a repair that was killed has left", function()
    local name = dir .. "/failed_images_20240125_100130.77.journal"
    for _, left in ipairs { "[\n  {", "[]\n" } do
      harness.write(name, whole)
      harness.write(name .. ".tmp", left)
      local made = records.repair(dir)
      assert.equal("a", cjson.decode(harness.read(made[1]))[1].id)
      assert.equal(1, #harness.list(dir))
      os.remove(made[1])
    end
  end)

  it("does not touch the record that it had written when it was killed before the journal was gone", function()
    local name = dir .. "/failed_images_20240125_100130.77.journal"
    harness.write(name, whole)
    local remove = os.remove
    finally(function() os.remove = remove end) -- luacheck: ignore
    os.remove = function() end -- luacheck: ignore
    local kept = records.repair(dir)[1]
    os.remove = remove -- luacheck: ignore
    harness.write(name, whole)
    local before, file = harness.read(kept), io.open(kept)
    assert.equal(1, #records.repair(dir))
    assert.equal(before, file:read("*a"))
    file:close()
  end)

  it("leaves the journal of a run that is alive alone", function()
    local record = assert(records.open(dir))
    record:add(image("a.jpg"), failure())
    assert.same({}, records.repair(dir))
    assert.equal(1, #journals(dir))
    assert(record:close())
  end)

  it("passes over other files", function()
    harness.write(dir .. "/failed_images_20240125_100130.json", "[]")
    harness.write(dir .. "/notes.journal", "x")
    assert.same({}, records.repair(dir))
    assert.same({ "failed_images_20240125_100130.json", "notes.journal" }, harness.list(dir))
  end)
end)
