-- Chroma as an index: a real server keeps the contract of all indexes through the adapter, and what it refuses is told.

require "spec.support.paths"
local services = require "spec.support.services"
local asking = require "spec.support.asking"
local index_contract = require "spec.support.index_contract"
local core = require "revec.core"
local chroma = require "revec.indexes.chroma"

local found, missing = services.find("chroma")
if not found then return it("keeps the contract of all indexes", function() pending(missing) end) end

local server
setup(function() server = services.chroma() end)
teardown(function() server:stop() end)

local function open(collection) return chroma.new { url = server.url .. "/", collection = collection } end

local function record(id, numbers)
  return { id = id, path = id .. ".jpg", vector = assert(core.vector(numbers or { 1, 2, 3 })) }
end

local INFO = { model = "m", dimension = 3, distance = "cosine" }

describe("chroma:", function()
  index_contract(describe, it, { open = open })
end)

describe("chroma", function()
  it("finds a collection that somebody else has made anew", function()
    local old, other = assert(open("anew")), assert(open("anew"))
    asking.run(old, function(ask)
      assert.is_true(old:create(ask, INFO))
      assert.same({}, old:put(ask, { record("a") }))
      assert.is_true(other:drop(ask))
      assert.is_true(other:create(ask, INFO))
      -- The one that it knew is gone: told once, then the new one is found.
      local _, failure = old:put(ask, { record("b") })
      assert.equal("not_found", failure.kind)
      assert.same({}, old:put(ask, { record("b") }))
      assert.same({ b = true }, old:find(ask, { "a", "b" }))
    end)
  end)

  it("tells what somebody else's collection is", function()
    local index = assert(open("foreign"))
    asking.run(index, function(ask)
      local event = ask("create", server.url .. "/api/v2/tenants/default_tenant/databases/default_database/collections",
        { '{"name":"foreign","configuration":{"hnsw":{"space":"l2"}}}' })
      assert.is_nil(event.kind)
      assert.same({ distance = "l2" }, index:info(ask))
      assert.same({}, index:put(ask, { record("a") }))
      assert.same({ distance = "l2", dimension = 3 }, index:info(ask))
    end)
  end)

  it("keeps more records than go into one call", function()
    local index = assert(open("many"))
    asking.run(index, function(ask)
      assert.is_true(index:create(ask, INFO))
      local records, ids, wanted = {}, {}, {}
      for i = 1, index.max_records do
        ids[i] = "id " .. i
        records[i], wanted[ids[i]] = record(ids[i], { i, 1, 1 }), true
      end
      assert.same({}, index:put(ask, records))
      assert.same(wanted, index:find(ask, ids))
      assert.equal(index.max_records, index:count(ask))
    end)
  end)

  it("is told apart from what is no chroma", function()
    local index = assert(chroma.new { url = server.url .. "/elsewhere", collection = "images" })
    asking.run(index, function(ask)
      local info, failure = index:info(ask)
      assert.is_nil(info)
      assert.equal("bad_answer", failure.kind)
      assert.equal(404, failure.status)
    end)
  end)

  it("cannot swap, and says so", function()
    local index = assert(open("images"))
    assert.is_false(index.swaps)
    assert.matches("^chroma has no alias", index.no_swap)
  end)

  it("refuses names that its collections cannot have", function()
    for _, name in ipairs { "ab", "-abc", "abc.", "a b c", ("x"):rep(513) } do
      local index, why = open(name)
      assert.is_nil(index)
      assert.matches("chroma's collections have names of 3 to 512 letters", why)
    end
  end)

  it("shows no credentials", function()
    local index = assert(chroma.new { url = "http://user:secret@host:1/", collection = "images", token = "hidden" })
    assert.equal("http://***@host:1/images", index.where)
    assert.same({ "x-chroma-token: hidden" }, index.headers)
  end)
end)
