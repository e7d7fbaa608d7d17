-- What the walk finds in a folder, in which order, and what it makes of everything that is in its way.

local paths = require("spec.support.paths")
local core = require("revec.core")
local internals = require("revec.internals")
local lfs = require("lfs")
local census = require("spec.support.census")
local process = require("spec.support.process")
local storages = require("spec.support.storages")

local EXTENSIONS = { "jpg", "png" }
local HANG_SECONDS = 60
local NOBODY = 65534

local shell, storage = storages.shell, storages.of
local before

local function open(root, limit)
  local engine = assert(core.engine { probe_url = "http://127.0.0.1:1/" })
  local ok, why, code = engine:walk { root = root, extensions = EXTENSIONS, limit = limit }
  if not ok then
    engine:close()
    return nil, why, code
  end
  return engine
end

-- The next entry, waited for.
local function next_entry(engine)
  local deadline = core.now() + HANG_SECONDS
  while true do
    local path, what, folder, why = engine:next()
    if path or what ~= "wait" then return path, what, folder, why end
    assert(core.now() < deadline, "the walk hangs")
    engine:wait(1)
    engine:poll()
  end
end

-- All images and stems, all folders that could not be read, and the total once it is known.
local function walk(root, limit)
  local engine = assert(open(root, limit))
  local images, stems, folders = {}, {}, {}
  while true do
    local path, what, folder, why = next_entry(engine)
    if path then
      images[#images + 1], stems[#stems + 1] = path, what
    elseif what == "folder" then
      folders[#folders + 1] = folder .. ": " .. why
    else
      break
    end
  end
  assert.equal("end", (select(2, engine:next())))
  local total, known = engine:total()
  assert.is_true(known)
  engine:close()
  return images, folders, stems, total
end

-- The first child process of all opens descriptors that stay.
setup(function() shell("/", "true") end)

before_each(function()
  before = census.take()
end)

after_each(function()
  storages.remove_all()
  collectgarbage()
  assert.same(before, census.take(before))
end)

describe("walk", function()
  local tree = { "b.jpg", "a/2.jpg", "a/10.jpg", "a.jpg", "Z.png", "a-b/x.jpg", "a/1/deep.png", "\195\169.jpg", "B/b.JPG" }
  local ordered = { "B/b.JPG", "Z.png", "a/1/deep.png", "a/10.jpg", "a/2.jpg", "a-b/x.jpg", "a.jpg", "b.jpg", "\195\169.jpg" }

  it("hands out images sorted by the bytes of each folder's names, whatever order they were made in", function()
    local backwards = {}
    for i = #tree, 1, -1 do backwards[#backwards + 1] = tree[i] end
    for _, names in ipairs { tree, backwards } do
      local images, folders, _, total = walk(storage(names))
      assert.same({ ordered, {}, #tree }, { images, folders, total })
    end
  end)

  it("sorts names that begin alike by what follows", function()
    local names, sorted = {}, {}
    for i = 1, 300 do names[i] = ("a_long_common_beginning_%d.jpg"):format(i * 7 % 1009) end
    for i, name in ipairs(names) do sorted[i] = name end
    table.sort(sorted)
    assert.same(sorted, (walk(storage(names))))
  end)

  it("takes its extensions in any case and nothing that only looks alike", function()
    local images, _, stems = walk(storage { "a.jpg", "b.JPG", "c.JpG", "d.PNG", "e.jpeg", "f.jpg.txt", "g.tar.jpg", "h", "jpg",
      "i.", "j.jp", "k.jpgx", ".jpg", "l.xjpg", "m jpg", "..jpg", ".hidden.jpg", "o.Jpg" })
    assert.same({ "..jpg", ".hidden.jpg", "a.jpg", "b.JPG", "c.JpG", "d.PNG", "g.tar.jpg", "o.Jpg" }, images)
    assert.same({ ".", ".hidden", "a", "b", "c", "d", "g.tar", "o" }, stems)
  end)

  it("goes into hidden folders and folders that are named like images", function()
    local images = walk(storage { ".hidden/a.jpg", "folder.jpg/b.png", "folder.jpg/c.txt", "empty.png/" })
    assert.same({ ".hidden/a.jpg", "folder.jpg/b.png" }, images)
  end)

  it("finds nothing in an empty folder and says so", function()
    assert.same({ {}, {}, {}, 0 }, { walk(storage { "sub/", "other/sub/" }) })
  end)

  it("follows links to files, but not to folders, and passes over loops and dangling links", function()
    local dir = storage { "real/a.jpg", "outside.dat" }
    shell(dir, "set -e; ln -s real/a.jpg link.jpg; ln -s outside.dat data.png; ln -s a.jpg real/again.jpg; ln -s real folder;"
      .. "ln -s real folder.jpg; ln -s . loop; ln -s . loop.jpg; ln -s nowhere dangling.jpg; ln -s self.jpg self.jpg;"
      .. "ln -s .. real/up; ln -s real/a.jpg plain")
    local images, folders, _, total = walk(dir)
    assert.same({ "data.png", "link.jpg", "real/a.jpg", "real/again.jpg" }, images)
    assert.same({ {}, 4 }, { folders, total })
  end)

  it("takes a link for its root", function()
    local dir = storage { "real/a.jpg" }
    shell(dir, "ln -s real root")
    assert.same({ "a.jpg" }, (walk(dir .. "/root")))
    assert.same({ "a.jpg" }, (walk(dir .. "/real/")))
  end)

  it("passes over pipes, sockets and devices without opening them", function()
    local dir = storage { "a.jpg" }
    shell(dir, "mkfifo pipe.jpg; ln -s pipe.jpg link.jpg; mkfifo sub; ln -s /dev/zero null.jpg")
    assert.same({ "a.jpg" }, (walk(dir)))
  end)

  it("hands out names of any bytes as they are", function()
    local names = { "\1.jpg", "\n.jpg", " .jpg", "%s.jpg", "a\nb.jpg", "a\\b.jpg", "\128\255.jpg", "\255/\254.jpg" }
    assert.same(names, (walk(storage(names))))
  end)

  it("tells of a folder that it may not read and goes on", function()
    local dir = storage { "a.jpg", "closed/b.jpg", "closed too.jpg/", "d/c.jpg", "d/e/f.jpg" }
    shell(dir, "chmod 000 closed 'closed too.jpg'; chmod 700 d; chmod 000 d/e; chmod 755 d")
    local as_nobody = internals.seteuid(NOBODY) -- to root nothing is closed
    local ok, images, folders, _, total = pcall(walk, dir)
    if as_nobody then internals.seteuid(0) end
    shell(dir, "chmod 755 closed 'closed too.jpg' d d/e")
    assert.is_true(ok, images)
    assert.same({ "a.jpg", "d/c.jpg" }, images)
    assert.same({ "closed: Permission denied", "closed too.jpg: Permission denied", "d/e: Permission denied" }, folders)
    assert.equal(2, total)
  end)

  it("refuses a root that is no folder, with the reason", function()
    local dir = storage { "a.jpg" }
    assert.same({ nil, "No such file or directory", 2 }, { open(dir .. "/none") })
    assert.same({ nil, "Not a directory", 20 }, { open(dir .. "/a.jpg") })
    assert.same({ nil, "No such file or directory", 2 }, { open("") })
  end)

  it("goes down a thousand folders and beyond the longest path that a system call takes", function()
    local dir, home, name = storages.empty(), lfs.currentdir(), "twelve_bytes"
    assert(lfs.chdir(dir))
    local ok, why = pcall(function()
      for depth = 1, 1000 do
        if depth == 1000 then process.write("last.jpg", "") end
        if depth % 250 == 0 then process.write("z.jpg", "") end
        assert(lfs.mkdir(name))
        assert(lfs.chdir(name))
      end
      process.write("bottom.jpg", "")
    end)
    assert(lfs.chdir(home))
    assert.is_true(ok, why)
    local images, folders, _, total = walk(dir)
    assert.same({}, folders)
    assert.same({ 6, 6 }, { #images, total })
    -- Not by assert.equal: a failure would print them.
    assert.is_true(images[1] == (name .. "/"):rep(999) .. "last.jpg")
    assert.is_true(images[2] == (name .. "/"):rep(1000) .. "bottom.jpg")
    assert.is_true(images[6] == (name .. "/"):rep(249) .. "z.jpg")
  end)

  it("finds 20,000 files in one folder, in order, and knows their number before it is through", function()
    local dir = storages.empty()
    shell(dir, "seq -f %06g.jpg 0 19999 | tac | xargs touch")
    local engine = assert(open(dir))
    assert(next_entry(engine))
    local deadline, total, known = core.now() + HANG_SECONDS
    repeat
      engine:wait(0.05)
      engine:poll()
      total, known = engine:total()
    until known or core.now() > deadline
    assert.same({ 20000, true }, { total, known })
    for i = 1, 19999 do
      local path, stem = next_entry(engine)
      if path ~= ("%06d.jpg"):format(i) or stem ~= ("%06d"):format(i) then error(i .. ": " .. tostring(path)) end
    end
    assert.same({ nil, "end" }, { next_entry(engine) })
    engine:close()
  end)

  it("counts no further than the limit", function()
    local names = {}
    for i = 1, 50 do names[i] = ("%d/%d.jpg"):format(i % 5, i) end
    local dir = storage(names)
    for limit, expected in pairs { [1] = 1, [7] = 7, [49] = 49, [50] = 50, [51] = 50, [1000] = 50 } do
      assert.equal(expected, (select(4, walk(dir, limit))))
    end
  end)

  it("closes in the middle of a walk, and when nothing was asked of it", function()
    local dir = storages.empty()
    shell(dir, "seq -f %06g.jpg 0 5999 | xargs touch")
    for taken = 0, 5000, 2500 do
      local engine = assert(open(dir))
      for _ = 1, taken do assert(next_entry(engine)) end
      engine:close()
      assert.has_error(function() engine:next() end, "engine: closed")
      assert.same(before, census.take(before))
    end
    for _ = 1, 20 do assert(open(dir)):close() end
  end)

  it("is not begun twice nor asked before it began", function()
    local engine = assert(core.engine { probe_url = "http://127.0.0.1:1/" })
    local ok, why = pcall(engine.next, engine)
    assert.same({ false, "walk: not started" }, { ok, why })
    assert.is_false(pcall(engine.total, engine))
    assert(engine:walk { root = paths.root .. "src", extensions = EXTENSIONS })
    ok, why = pcall(engine.walk, engine, { root = paths.root, extensions = EXTENSIONS })
    assert.same({ false, "walk: this engine walks already" }, { ok, why })
    engine:close()
  end)

  it("names the option that is wrong", function()
    local engine = assert(core.engine { probe_url = "http://127.0.0.1:1/" })
    local cases = {
      { { extensions = {} }, "root: string expected" }, { { root = 5, extensions = {} }, "root: string" },
      { { root = "a\0b", extensions = {} }, "root: string without NUL bytes expected" },
      { { root = "/tmp" }, "extensions" }, { { root = "/tmp", extensions = "jpg" }, "extensions" },
      { { root = "/tmp", extensions = { 1 } }, "extensions: array of strings expected" },
      { { root = "/tmp", extensions = {}, limit = 1.5 }, "limit: integer" },
    }
    for _, case in ipairs(cases) do
      local ok, why = pcall(engine.walk, engine, case[1])
      assert.is_false(ok)
      assert.is_truthy(why:find(case[2], 1, true), why)
    end
    engine:close()
  end)
end)
