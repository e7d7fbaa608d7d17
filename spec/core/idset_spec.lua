-- A set of ids that remembers all and invents none.

require("spec.support.paths")
local core = require("revec.core")

describe("idset", function()
  it("knows what was added and nothing else", function()
    local set = core.idset()
    assert.is_false(set:has("a"))
    assert.is_true(set:add("a"))
    assert.is_false(set:add("a"))
    assert.is_true(set:has("a"))
    assert.is_false(set:has("b"))
    assert.equal(1, set:count())
  end)

  it("tells apart the empty id, NUL bytes and ids that only differ in length", function()
    local set, ids = core.idset(), { "", "\0", "\0\0", "a", "a\0", "\0a", "a\0b", "a\0c" }
    for n = 1, 40 do ids[#ids + 1] = ("x"):rep(n) end
    for n = 3, 20 do ids[#ids + 1] = ("\0"):rep(n) end
    for i, id in ipairs(ids) do
      assert.is_false(set:has(id))
      assert.is_true(set:add(id), i)
    end
    for _, id in ipairs(ids) do assert.is_false(set:add(id)) end
    assert.equal(#ids, set:count())
  end)

  it("tells apart long ids that differ in one bit anywhere", function()
    local set, base = core.idset(), ("\85"):rep(100)
    set:add(base)
    for i = 1, #base do
      local other = base:sub(1, i - 1) .. "\84" .. base:sub(i + 1)
      assert.is_true(set:add(other))
    end
    assert.equal(101, set:count())
  end)

  it("holds 200,000 ids in at most 24 bytes each from 10,000 on, and takes no stranger for one", function()
    local set = core.idset()
    for i = 1, 200000 do
      if not set:add("image_" .. i) then error("taken for an earlier one: " .. i) end
      if i >= 10000 and i % 1000 == 0 and set:bytes() > 24 * i then
        error(("%g bytes an id at %d"):format(set:bytes() / i, i))
      end
    end
    assert.equal(200000, set:count())
    for i = 1, 200000 do
      if not set:has("image_" .. i) then error("forgotten: " .. i) end
      if set:has("image-" .. i) then error("invented: " .. i) end
    end
    assert.equal(200000, set:count())
  end)

  it("remembers two marks of an id, apart, in one place", function()
    local set = core.idset()
    assert.is_true(set:add("a", 2))
    assert.is_false(set:has("a"))
    assert.is_true(set:has("a", 2))
    assert.is_true(set:add("a"))
    assert.is_false(set:add("a", 2))
    assert.is_false(set:add("a", 1))
    for i = 1, 1000 do set:add("x" .. i, 1 + i % 2) end
    for i = 1, 1000 do assert.same({ i % 2 == 0, i % 2 == 1 }, { set:has("x" .. i, 1), set:has("x" .. i, 2) }) end
    assert.equal(1001, set:count())
    for _, mark in ipairs { 0, 3, 1.5, "a" } do assert.has_error(function() set:add("b", mark) end) end
  end)

  it("wants strings", function()
    local set = core.idset()
    for _, method in ipairs { "add", "has" } do
      assert.has_error(function() set[method](set) end)
      assert.has_error(function() set[method](set, {}) end)
      assert.has_error(function() set[method](nil, "a") end)
      assert.has_error(function() set[method](io.stdout, "a") end)
    end
    assert.equal(0, set:count())
  end)

  it("keeps its sets apart", function()
    local a, b = core.idset(), core.idset()
    a:add("x")
    assert.is_false(b:has("x"))
  end)

  it("cannot be taken apart from outside", function()
    assert.equal("revec.idset", getmetatable(core.idset()))
  end)
end)
