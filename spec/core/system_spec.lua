-- Files as core.move and core.lock handle them.
require "spec.support.paths"
local core = require "revec.core"
local harness = require "spec.support.harness"

local dir
before_each(function() dir = harness.tempdir() end)
after_each(harness.cleanup)

describe("core.move", function()
  it("gives a file another name, but none that is taken", function()
    harness.write(dir .. "/a", "1")
    harness.write(dir .. "/b", "2")
    assert.is_false(core.move(dir .. "/a", dir .. "/b"))
    assert.is_true(core.move(dir .. "/a", dir .. "/c"))
    assert.same({ "b", "c" }, harness.list(dir))
    assert.same({ "2", "1" }, { harness.read(dir .. "/b"), harness.read(dir .. "/c") })
  end)

  it("says why it cannot, and takes no name then", function()
    local moved, why = core.move(dir .. "/missing", dir .. "/b")
    assert.is_nil(moved)
    assert.equal(dir .. "/b: No such file or directory", why)
    assert.same({}, harness.list(dir))
  end)

  -- Root without its privileges may not link a file of another's in a folder of its own (protected_hardlinks), but may rename it.
  it("needs no links", function()
    if harness.run { command = { "id", "-u" } }.stdout ~= "0\n" or harness.read "/proc/sys/fs/protected_hardlinks" ~= "1\n" then
      return pending "only root can make a file that cannot be linked"
    end
    for _, name in ipairs { "a", "b", "c" } do harness.write(dir .. "/" .. name, name) end
    harness.shell("chown 1 '" .. dir .. "/a' '" .. dir .. "/b' && chmod 644 '" .. dir .. "/a' '" .. dir .. "/b'")
    harness.write(dir .. "/move.lua", [[package.cpath = arg[2]
      local core, dir = require "revec.core", arg[1]
      print(core.move(dir .. "/a", dir .. "/c"), core.move(dir .. "/b", dir .. "/d"))]])
    local command = { "setpriv", "--bounding-set=-all", "--inh-caps=-all" }
    for _, word in ipairs(harness.lua_words()) do command[#command + 1] = word end
    for _, word in ipairs { dir .. "/move.lua", dir, package.cpath } do command[#command + 1] = word end
    local result = harness.run { command = command, cwd = harness.root }
    assert.equal("false\ttrue\n", result.stdout, result.output)
    assert.same({ "a", "c", "d", "move.lua" }, harness.list(dir))
    assert.same({ "c", "b" }, { harness.read(dir .. "/c"), harness.read(dir .. "/d") })
  end)
end)

describe("core.lock", function()
  it("is held once, whoever asks", function()
    local first, second = assert(io.open(dir .. "/a", "w")), assert(io.open(dir .. "/a"))
    assert.same({ true, false }, { core.lock(first), core.lock(second) })
    first:close()
    assert.is_true(core.lock(second, dir .. "/a"))
    second:close()
  end)

  it("is none of a file that its path no longer names", function()
    local file = assert(io.open(dir .. "/a", "w"))
    os.remove(dir .. "/a")
    assert.is_false(core.lock(file, dir .. "/a"))
    harness.write(dir .. "/b", "")
    assert(os.rename(dir .. "/b", dir .. "/a"))
    assert.is_false(core.lock(file, dir .. "/a"))
    assert.is_true(core.lock(file))
    file:close()
  end)
end)
