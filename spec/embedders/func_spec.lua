-- A Lua function as an embedder. How a run ends that it raises in: spec/direct_spec.lua.

require("spec.support.paths")
local asking = require("spec.support.asking")
local func = require("revec.embedders.func")

local IMAGE = { id = "a", path = "/a.jpg" }

describe("the embedder func", function()
  local function embed(call)
    local embedder = func.new { call = call }
    return asking.run(embedder, function(ask) return embedder:embed(ask, { IMAGE }) end)
  end

  it("gives the function an image, and takes an array of numbers or a text of one", function()
    local seen
    local vectors, why = embed(function(image)
      seen = image
      return { 1, 0.5, -2 }
    end)
    assert.equal(IMAGE, seen)
    assert.is_nil(why)
    assert.equal(3, vectors[1]:dimension())
    assert.equal("[1.50, 2]", embed(function() return "[1.50, 2]" end)[1]:json())
  end)

  it("takes nil and a reason for a failure of the image", function()
    local vectors, failure = embed(function() return nil, "too\ndark" end)
    assert.is_nil(vectors)
    assert.same({ kind = "rejected", message = "too\\ndark", attempts = 1 }, failure)
    assert.equal("the function gave no vector", select(2, embed(function() end)).message)
  end)

  it("says what is wrong with a vector that is none", function()
    for _, case in ipairs {
      { {}, "the vector is empty" },
      { { 0, 0 }, "the vector is all zeros" },
      { { 1, 0 / 0 }, "vector: finite numbers expected in the array, got number at 2" },
      { "[1", "not all of the vector are numbers" },
      { true, "an array of numbers expected, got boolean" },
    } do
      local vectors, why = embed(function() return case[1] end)
      assert.same({ { false }, case[2] }, { vectors, why })
    end
  end)

  it("passes an error in the function on", function()
    assert.has_error(function() embed(function() error("out of tea", 0) end) end, "out of tea")
  end)
end)
