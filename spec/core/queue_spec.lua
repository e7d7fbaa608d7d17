-- Where requests wait: in order of arrival, or in order of the time they are due.

require("spec.support.paths")
local internals = require("revec.internals")

describe("the heap", function()
  it("gives out what is due first, first", function()
    local seed = 12345
    local function random()
      seed = (seed * 1103515 + 12345) % 2147483
      return seed
    end
    for _, n in ipairs { 0, 1, 2, 3, 10, 64, 65, 1000 } do
      local dues, sorted = {}, {}
      for i = 1, n do
        dues[i] = random() % (n + 1) -- some are due at the same time
        sorted[i] = dues[i]
      end
      table.sort(sorted)
      assert.same(sorted, internals.heap(dues))
    end
  end)

  it("copes with what comes sorted either way", function()
    local up, down = {}, {}
    for i = 1, 300 do up[i], down[i] = i, 301 - i end
    assert.same(up, internals.heap(up))
    assert.same(up, internals.heap(down))
  end)
end)

describe("the list", function()
  local function drain(list)
    local items = {}
    for item in function() return list:pop() end do items[#items + 1] = item end
    return items
  end

  it("gives out in order of arrival, but first what was pushed in front", function()
    local list = internals.list()
    assert.is_nil(list:pop())
    list:push(1)
    list:push(2)
    list:push_front(3)
    assert.equal(3, list:count())
    assert.same({ 3, 1, 2 }, drain(list))
    assert.equal(0, list:count())
    list:push_front(4)
    list:push(5)
    assert.same({ 4, 5 }, drain(list))
  end)

  it("takes over another list whole, and leaves it empty and usable", function()
    local a, b = internals.list(), internals.list()
    a:append(b)
    b:push(1)
    b:push(2)
    a:append(b)
    b:push(3)
    a:push(4)
    a:append(b)
    assert.equal(0, b:count())
    assert.same({ 1, 2, 4, 3 }, drain(a))
    b:push(5)
    assert.same({ 5 }, drain(b))
  end)

  it("frees what is left in it", function()
    local list = internals.list()
    for i = 1, 100 do list:push(i) end
    list = nil -- luacheck: ignore
    collectgarbage()
  end)
end)
