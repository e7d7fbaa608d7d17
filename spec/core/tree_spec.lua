-- The iterator under the walk, step by step, so that a folder can change between two steps.

require("spec.support.paths")
local internals = require("revec.internals")
local storages = require("spec.support.storages")

local shell, storage = storages.shell, storages.of
local EXTENSIONS = { "jpg", "png" }

after_each(storages.remove_all)

describe("a tree that changes under the walk", function()
  it("reports a folder that went away and goes on behind it", function()
    local dir = storage { "a.jpg", "b/1.jpg", "c/1.jpg", "d.jpg" }
    local tree = internals.tree(dir, EXTENSIONS, false)
    assert.same({ "read", "", 2 }, { tree:next() })
    assert.same({ "image", "a.jpg" }, { tree:next() })
    shell(dir, "rm -r b; mv c e; ln -s e c")
    assert.same({ "folder", "b", "No such file or directory" }, { tree:next() })
    assert.same({ "folder", "c", "Not a directory" }, { tree:next() })
    assert.same({ "image", "d.jpg" }, { tree:next() })
    assert.same({ "end" }, { tree:next() })
    assert.same({ "end" }, { tree:next() })
    tree:close()
  end)

  it("still hands out the names of a folder that goes away while it is in it", function()
    local dir = storage { "a/1.jpg", "a/2.jpg", "a/3/4.jpg" }
    local tree = internals.tree(dir, EXTENSIONS, false)
    assert.same({ "read", "", 0 }, { tree:next() })
    assert.same({ "read", "a", 2 }, { tree:next() })
    assert.same({ "image", "a/1.jpg" }, { tree:next() })
    shell(dir, "rm -r a")
    assert.same({ "image", "a/2.jpg" }, { tree:next() })
    assert.same({ "folder", "a/3", "No such file or directory" }, { tree:next() })
    assert.same({ "end" }, { tree:next() })
    tree:close()
  end)

  it("counts folder by folder, and as many as it hands out", function()
    local dir = storage { "1.jpg", "a/1.jpg", "a/2.jpg", "a/x.txt", "b/", "c/d/1.jpg" }
    local tree, counted, folders = internals.tree(dir, EXTENSIONS, true), 0, 0
    for what, _, images in function() return tree:next() end do
      if what == "end" then break end
      assert.equal("read", what)
      counted, folders = counted + images, folders + 1
    end
    tree:close()
    assert.same({ 4, 5 }, { counted, folders })
  end)
end)
