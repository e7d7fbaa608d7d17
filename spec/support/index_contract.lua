-- What every index has to do, whatever keeps it. An index's spec calls this with busted's own functions and how its adapters
-- are made:
--
--   index_contract(describe, it, {
--     open = function(collection) … end,         a fresh adapter of a collection; it is there or not, as earlier calls left it
--     swaps = true,                              where it swaps without aliases
--     make_plain = function(collection) … end,   where it swaps by aliases: makes a collection of that very name, with none
--   })

local assert = require("luassert")
local core = require("revec.core")
local asking = require("spec.support.asking")

local DIMENSION = 8
local INFO = { model = 'jina "clip" v2, 模型/2', dimension = DIMENSION, distance = "cosine" }

local function vector(...)
  local numbers = { ... }
  for i = #numbers + 1, DIMENSION do numbers[i] = 0 end
  return assert(core.vector(numbers))
end

local function record(id, v)
  return { id = id, path = "some where/" .. id .. ".jpg", tags = "cat,猫", mtime = 1700000000, size = 123, vector = v or vector(1) }
end

-- As the pipeline does: all in one call, one by one when that fails. Which were refused, by number.
local function put(index, ask, records)
  local bad, whole = index:put(ask, records)
  if bad then return bad, nil end
  bad = {}
  for i, each in ipairs(records) do
    local refused, failure = index:put(ask, { each })
    if not refused or refused[1] then bad[i] = failure or refused[1] end
  end
  return bad, whole
end

local function is_failure(failure)
  assert.is_table(failure)
  assert.is_string(failure.kind)
  assert.is_string(failure.message)
  assert.is_nil(failure.message:find("\n"))
  return failure.message
end

local collections = 0

return function(describe, it, server)
  -- A case of its own collection: body(index, ask, open, name); open() makes another adapter of it.
  local function case(name, body)
    it(name, function()
      collections = collections + 1
      local collection = "case_" .. collections
      local function open() return assert(server.open(collection)) end
      local index = open()
      asking.run(index, function(ask) body(index, ask, open, collection) end)
    end)
  end

  local function filled(index, ask, ids)
    assert.is_true(index:create(ask, INFO))
    local records = {}
    for i, id in ipairs(ids) do records[i] = record(id) end
    assert.same({}, (put(index, ask, records)))
  end

  describe("a collection", function()
    case("is nothing before it is made", function(index, ask)
      local info, failure = index:info(ask)
      assert.is_nil(info)
      assert.is_nil(failure)
    end)

    case("remembers its model, dimension and distance", function(index, ask, open)
      assert.is_true(index:create(ask, INFO))
      assert.same(INFO, (index:info(ask)))
      assert.same(INFO, (open():info(ask)))
      assert.equal(0, index:count(ask))
    end)

    case("is gone with all that was in it", function(index, ask, open)
      filled(index, ask, { "a" })
      assert.is_true(index:drop(ask))
      local info, failure = open():info(ask)
      assert.is_nil(info)
      assert.is_nil(failure)
      filled(index, ask, { "b" })
      assert.same({ b = true }, index:find(ask, { "a", "b" }))
    end)

    it("that is not there is a failure to write, read, count and search", function()
      local index = assert(server.open("nowhere"))
      asking.run(index, function(ask)
        local bad, failure = index:put(ask, { record("a") })
        is_failure(failure or bad[1])
        is_failure(select(2, index:find(ask, { "a" })))
        is_failure(select(2, index:count(ask)))
        is_failure(select(2, index:search(ask, vector(1), 1)))
      end)
    end)
  end)

  describe("records", function()
    case("are found once they are put", function(index, ask)
      filled(index, ask, { "a", "b" })
      assert.same({ a = true, b = true }, index:find(ask, { "a", "no", "b" }))
      assert.same({}, index:find(ask, { "no", "none" }))
      assert.equal(2, index:count(ask))
    end)

    case("are found by odd ids", function(index, ask)
      local ids = { "two words", 'a "quote"', "it's", "back\\slash", "new\nline", "tab\tand\127", "图片 一", "a/b?c=d&e#f%20", "0", "00",
        "12345678901234567890", "6BA7B810-9DAD-11D1-80B4-00C04FD430C8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "{}", "[1]", "null",
        ("x"):rep(200) }
      local kept, wanted = {}, {}
      for _, id in ipairs(ids) do
        local why = index:check_id(id)
        if why then
          assert.matches("^id is ", why)
        else
          kept[#kept + 1] = id
          wanted[id] = true
        end
      end
      assert.is_true(#kept >= #ids - 1, "refuses more than the long one")
      filled(index, ask, kept)
      assert.same(wanted, index:find(ask, ids))
      assert.equal(#kept, index:count(ask))
      local hits = {}
      for _, hit in ipairs(index:search(ask, vector(1), #kept)) do hits[hit.id] = hit.path == record(hit.id).path end
      assert.same(wanted, hits)
    end)

    case("are refused beforehand where their ids are too long", function(index, ask)
      local long = ("长"):rep(3000)
      local why = index:check_id(long)
      if why then
        assert.matches("^id is 9000 bytes long: at most %d+$", why)
        local most = tonumber(why:match("%d+$"))
        long = ("y"):rep(most)
        assert.is_nil(index:check_id(long))
        assert.is_string(index:check_id(long .. "y"))
      end
      filled(index, ask, { long })
      assert.same({ [long] = true }, index:find(ask, { long }))
    end)

    case("may have ids that are not UTF-8, or those are refused beforehand", function(index, ask)
      local id = "caf\233"
      local why = index:check_id(id)
      if why then return assert.matches("^id is not UTF%-8", why) end
      filled(index, ask, { id })
      assert.same({ [id] = true }, index:find(ask, { id }))
    end)

    case("may have paths that are not UTF-8, and no tags", function(index, ask)
      filled(index, ask, {})
      local odd = record("a")
      odd.path, odd.tags, odd.mtime = "caf\233\\\"\1.jpg", nil, 1700000000.25
      assert.same({}, (put(index, ask, { odd })))
      assert.same({ a = true }, index:find(ask, { "a" }))
    end)

    case("may have vectors that stand over several lines", function(index, ask)
      filled(index, ask, {})
      local v = assert(core.vector("[1,\n\t0.5 ,\r\n 0, 0,0 ,0,0,\n0\n]"))
      assert.same({}, (put(index, ask, { record("a", v), record("b", vector(0, 1)) })))
      assert.equal("a", index:search(ask, v, 1)[1].id)
    end)

    case("take the place of those that were there", function(index, ask)
      filled(index, ask, { "a", "b" })
      assert.same({}, (put(index, ask, { record("a", vector(0, 1)) })))
      assert.equal(2, index:count(ask))
      local hits = index:search(ask, vector(0, 1), 1)
      assert.equal("a", hits[1].id)
      assert.near(1, hits[1].score, 0.001)
    end)

    case("of another dimension sink only themselves", function(index, ask)
      filled(index, ask, { "before" })
      local wrong = record("wrong", assert(core.vector({ 1, 2, 3 })))
      local bad, whole = put(index, ask, { record("a"), wrong, record("b") })
      is_failure(bad[2])
      if whole then is_failure(whole) end
      bad[2] = nil
      assert.same({}, bad)
      assert.same({ a = true, b = true, before = true }, index:find(ask, { "before", "a", "wrong", "b" }))
      assert.equal(3, index:count(ask))
    end)
  end)

  describe("search", function()
    case("gives the nearest first, with the cosine similarity", function(index, ask)
      filled(index, ask, {})
      assert.same({}, (put(index, ask, {
        record("opposite", vector(-1)), record("same", vector(5)), record("near", vector(1, 0.75)), record("far", vector(0, 1)),
      })))
      local hits = index:search(ask, vector(1), 4)
      local ids = {}
      for i, hit in ipairs(hits) do ids[i] = hit.id end
      assert.same({ "same", "near", "far", "opposite" }, ids)
      for i, score in ipairs { 1, 0.8, 0, -1 } do assert.near(score, hits[i].score, 0.001) end
      assert.equal("some where/same.jpg", hits[1].path)
      assert.equal(2, #index:search(ask, vector(1), 2))
    end)

    case("finds nothing in an empty collection", function(index, ask)
      filled(index, ask, {})
      assert.same({}, index:search(ask, vector(1), 3))
    end)
  end)

  if not (server.swaps or server.make_plain) then return end

  describe("a swap", function()
    -- What another process sees of the live collection.
    local function live(open, ask)
      local index = open()
      return index:info(ask) and index:find(ask, { "old", "new", "newer" })
    end

    local function rebuilt(open, ask, id)
      local index = open()
      assert.is_true(index:stage(ask))
      filled(index, ask, { id })
      assert.is_true(index:swap(ask))
      return index
    end

    case("puts what was staged in the live one's place, which is whole all the while", function(index, ask, open)
      filled(index, ask, { "old" })
      local staged = open()
      assert.is_true(staged:stage(ask))
      local info, failure = staged:info(ask)
      assert.is_nil(info)
      assert.is_nil(failure)
      assert.same({ old = true }, live(open, ask))
      assert.is_true(staged:create(ask, { model = "other", dimension = DIMENSION, distance = "cosine" }))
      assert.same({ old = true }, live(open, ask))
      assert.same({}, (put(staged, ask, { record("new") })))
      assert.equal("other", staged:info(ask).model)
      assert.same({ new = true }, staged:find(ask, { "old", "new" }))
      assert.equal(1, staged:count(ask))
      assert.equal("new", staged:search(ask, vector(1), 5)[1].id)
      assert.same({ old = true }, live(open, ask))
      assert.is_true(staged:swap(ask))
      assert.same({ new = true }, live(open, ask))
      assert.equal("other", open():info(ask).model)
      assert.same({ new = true }, staged:find(ask, { "old", "new" }))
    end)

    case("makes the live one where there was none", function(_, ask, open)
      rebuilt(open, ask, "new")
      assert.same({ new = true }, live(open, ask))
      is_failure(select(2, open():rollback(ask)))
    end)

    case("is taken back, and forth again", function(index, ask, open)
      filled(index, ask, { "old" })
      rebuilt(open, ask, "new")
      assert.is_true(open():rollback(ask))
      assert.same({ old = true }, live(open, ask))
      assert.is_true(open():rollback(ask))
      assert.same({ new = true }, live(open, ask))
    end)

    case("keeps one for a rollback, and no more", function(index, ask, open, collection)
      filled(index, ask, { "old" })
      rebuilt(open, ask, "new")
      rebuilt(open, ask, "newer")
      assert.same({ newer = true }, live(open, ask))
      if index.names then
        local kept = 0
        for name in pairs(index:names(ask).collections) do kept = kept + (name:find(collection .. "_", 1, true) == 1 and 1 or 0) end
        assert.equal(2, kept)
      end
      assert.is_true(open():rollback(ask))
      assert.same({ new = true }, live(open, ask))
      assert.is_true(open():rollback(ask))
      assert.same({ newer = true }, live(open, ask))
    end)

    case("is taken back only where something was kept", function(index, ask, open)
      filled(index, ask, { "old" })
      is_failure(select(2, index:rollback(ask)))
      assert.same({ old = true }, live(open, ask))
    end)

    case("drops what an earlier one left unfinished", function(index, ask, open)
      filled(index, ask, { "old" })
      local unfinished = open()
      assert.is_true(unfinished:stage(ask))
      filled(unfinished, ask, { "new" })
      local staged = open()
      assert.is_true(staged:stage(ask))
      assert.is_nil(staged:info(ask))
      filled(staged, ask, { "newer" })
      assert.same({ newer = true }, staged:find(ask, { "new", "newer" }))
      assert.is_true(staged:swap(ask))
      assert.same({ newer = true }, live(open, ask))
    end)

    case("leaves the live one alone when what was staged is dropped", function(index, ask, open)
      filled(index, ask, { "old" })
      local staged = open()
      assert.is_true(staged:stage(ask))
      filled(staged, ask, { "new" })
      assert.is_true(staged:drop(ask))
      assert.same({ old = true }, live(open, ask))
    end)

    if server.make_plain then case("is refused where the live one is no alias", function(_, ask, open, collection)
      server.make_plain(collection)
      assert.matches("no alias", is_failure(select(2, open():stage(ask))))
      assert.same({}, live(open, ask))
    end) end

    case("without anything staged is a failure", function(index, ask, open)
      filled(index, ask, { "old" })
      is_failure(select(2, index:swap(ask)))
      assert.same({ old = true }, live(open, ask))
    end)
  end)
end
