-- make install, make uninstall and luarocks make, for the Lua that runs this: what they put where, and that it works there.
local paths = require "spec.support.paths"
local harness = require "spec.support.harness"

local abi = _VERSION:match("%d+%.%d+")
local lua = jit and "luajit" or "lua" .. abi
-- As an installed revec is run: from anywhere, and told nothing about where modules are.
local plain = { LUA_PATH = false, LUA_CPATH = false, LUA_PATH_5_4 = false, LUA_CPATH_5_4 = false, LC_ALL = "C" }

local function run(...)
  local result = harness.run { command = { ... }, env = plain, timeout = 60 }
  assert.equal(0, result.code, result.output)
  return result.output
end

-- Without the dots that paths.root may have in it: it is looked for in files.
local checkout

local function make(target, ...)
  run("make", "-s", "-C", checkout, target, "BUILD=" .. paths.build, "LUA=" .. lua, ...)
end

-- All files below a folder, sorted, as paths from there.
local function files(dir)
  local list = {}
  for path in run("find", dir, "-type", "f"):gmatch("[^\n]+") do list[#list + 1] = path:sub(#dir + 2) end
  table.sort(list)
  return list
end

local function assert_works(program)
  assert.matches("^revec %d+%.%d+%.%d+ %(Lua" .. (jit and "JIT" or " " .. abi:gsub("%p", "%%%0")), run(program, "--version"))
  local storage = harness.tree { "a.jpg", "b/c.png", "d.txt" }
  assert.matches("2 images", run(program, "--dry-run", "--storage-path", storage))
end

describe("an installation", function()
  setup(function() checkout = run("realpath", paths.root):gsub("\n", "") end)
  after_each(harness.cleanup)

  it("runs from its prefix, and goes without a trace", function()
    local prefix = harness.tempdir()
    local neighbour = "share/lua/" .. abi .. "/neighbour.lua"
    harness.write(prefix .. "/" .. neighbour, "")
    make("install", "PREFIX=" .. prefix)
    assert_works(prefix .. "/bin/revec")
    make("uninstall", "PREFIX=" .. prefix)
    assert.same({ neighbour }, files(prefix))
  end)

  it("names the prefix alone: neither where it was staged nor where it was built", function()
    local stage = harness.tempdir()
    make("install", "DESTDIR=" .. stage, "PREFIX=/opt/revec")
    local installed = files(stage)
    assert.is_true(#installed > 10)
    for _, path in ipairs(installed) do
      assert.equal(1, path:find("opt/revec/", 1, true))
      local content = harness.read(stage .. "/" .. path)
      for _, folder in ipairs { stage, checkout } do assert.is_nil(content:find(folder, 1, true), folder .. " in " .. path) end
    end
    assert.matches("/opt/revec/share/lua/" .. abi, harness.read(stage .. "/opt/revec/bin/revec"), 1, true)
    local core = stage .. "/opt/revec/lib/lua/" .. abi .. "/revec/core.so"
    assert.is_nil(run("readelf", "-d", core):match("R[UN]*PATH"))
    make("uninstall", "DESTDIR=" .. stage, "PREFIX=/opt/revec")
    assert.same({}, files(stage))
  end)

  it("is made by luarocks as well", function()
    local tree = harness.tempdir()
    local result = harness.run {
      command = { "luarocks", "--lua-version", abi, "--tree", tree, "make" }, cwd = checkout, timeout = 60,
      env = { HOME = harness.tempdir(), CFLAGS = false, MAKEFLAGS = false, MAKELEVEL = false },
    }
    assert.equal(0, result.code, result.output)
    assert.matches("^revec %d", run(tree .. "/bin/revec", "--version"))
    assert.is_nil(harness.read(tree .. "/lib/lua/" .. abi .. "/revec/core.so"):find(checkout, 1, true))
  end)
end)
