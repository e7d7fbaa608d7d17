-- An index in one SQLite file: what is put in is found, whatever else uses the file, fills it or is killed.

local paths = require "spec.support.paths"
local harness = require "spec.support.harness"
local store = require "revec.store"
local dbi = require "DBI"

local unpack = table.unpack or unpack -- luacheck: ignore
local folder, stores

before_each(function() folder, stores = harness.tempdir(), {} end)
after_each(function()
  for _, s in ipairs(stores) do s:close() end
  harness.cleanup()
end)

local function open(options, name)
  local s = assert(store.open(folder .. "/" .. (name or "index"), options))
  stores[#stores + 1] = s
  return s
end

local function ready(dimension, options)
  local s = open(options)
  assert(s:set_info { model = "m", dimension = dimension })
  return s
end

local function ids_of(hits)
  local ids = {}
  for i, hit in ipairs(hits) do ids[i] = hit.id end
  return ids
end

-- Little-endian float32 of numbers that are small powers of two, or their negatives: exact, and easily written by hand.
local float32 = { [0] = "\0\0\0\0", [1] = "\0\0\128\63", [-1] = "\0\0\128\191", [2] = "\0\0\0\64", [0.5] = "\0\0\0\63" }
local function packed(...)
  local parts = {}
  for i, n in ipairs { ... } do parts[i] = assert(float32[n]) end
  return table.concat(parts)
end

-- What it raises, without the place in the spec that it names.
local function raised(f, ...)
  local ok, why = pcall(f, ...)
  assert.is_false(ok, "no error was raised")
  return (why:gsub("^[^:]*:%d+: ", ""))
end

-- Runs Lua text in another process, which ends when this one does; it is given the index's path as its argument.
local function child(text, wrapper)
  local script = folder .. "/child.lua"
  harness.write(script, ("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath) .. text)
  local command = {}
  for _, word in ipairs(wrapper or {}) do command[#command + 1] = word end
  for _, word in ipairs(harness.lua_words()) do command[#command + 1] = word end
  command[#command + 1] = script
  command[#command + 1] = folder .. "/index"
  return harness.spawn { command = command, cwd = paths.root }
end

local function sql(...)
  local db = assert(dbi.Connect("SQLite3", folder .. "/index"))
  db:autocommit(true)
  for _, text in ipairs { ... } do
    local statement = assert(db:prepare(text))
    assert(statement:execute())
    statement:close()
  end
  db:close()
end

describe("a store", function()
  it("gives back what was put in, in all forms of a vector", function()
    local s = ready(3)
    local record = { id = "a", path = "2026/a.jpg", tags = "x,y", mtime = 1.5, size = 10, vector = packed(1, 2, 0.5) }
    assert.equal(4, s:put { record, { id = "b", vector = { 1, 2, 0.5 } }, { id = "c", vector = " [1, 20e-1 ,0.05E+1]\n" },
      { id = "\0\255", vector = "[1.0,2,5e-1]", path = "" } })
    assert.same(record, s:get("a"))
    assert.same({ id = "b", vector = record.vector }, s:get("b"))
    assert.same({ id = "c", vector = record.vector }, s:get("c"))
    assert.same({ id = "\0\255", path = "", vector = record.vector }, s:get("\0\255"))
    assert.is_nil(s:get("d"))
    assert.equal(4, s:count())
  end)

  it("keeps it in the file", function()
    ready(2):put { { id = "a", vector = { 1, 0 } } }
    stores[1]:close()
    local s = open { readonly = true }
    assert.same({ model = "m", dimension = 2, distance = "cosine" }, s:info())
    assert.same({ a = true }, s:has { "a", "b" })
    assert.same({ "index" }, harness.list(folder))
  end)

  it("replaces a record of the same id as a whole", function()
    local s = ready(2)
    s:put { { id = "a", path = "old", tags = "t", vector = { 1, 0 } } }
    assert.equal(2, s:put { { id = "a", vector = { 0, 1 } }, { id = "a", path = "new", vector = { 0, 2 } } })
    assert.equal(1, s:count())
    assert.same({ id = "a", path = "new", vector = packed(0, 2) }, s:get("a"))
  end)

  it("tells which of many ids are there, and deletes", function()
    local s, records, ids = ready(2), {}, {}
    for i = 1, 3000 do
      ids[i] = "id" .. i
      if i % 3 == 0 then records[#records + 1] = { id = ids[i], vector = { i, 1 } } end
    end
    assert.equal(1000, s:put(records))
    local there = s:has(ids)
    for i = 1, 3000 do assert.equal(i % 3 == 0 or nil, there[ids[i]]) end
    assert.same({}, s:has {})
    assert.same({}, s:has { "", ("x"):rep(1000) })
    assert.equal(2, s:delete { "id3", "id4", "id6", "id3" })
    assert.equal(998, s:count())
  end)

  it("lists ids by bytes, page by page", function()
    local s = ready(1)
    s:put { { id = "b", vector = { 1 } }, { id = "a", vector = { 1 } }, { id = "B", vector = { 1 } }, { id = "\255", vector = { 1 } },
      { id = "a\0", vector = { 1 } } }
    assert.same({ "B", "a", "a\0", "b", "\255" }, s:ids())
    assert.same({ "B", "a" }, s:ids(nil, 2))
    assert.same({ "a\0", "b" }, s:ids("a", 2))
    assert.same({}, s:ids("\255"))
  end)

  it("reports bad records by their position and stores the others", function()
    local s = ready(3)
    local good = { 1, 2, 3 }
    local cases = {
      { { id = "", vector = good }, "id: string of 1..512 bytes expected, got an empty one" },
      { { id = ("x"):rep(513), vector = good }, "id: string of 1..512 bytes expected, got a longer one" },
      { { id = 5, vector = good }, "id: string of 1..512 bytes expected, got number" },
      { { vector = good }, "id: string of 1..512 bytes expected, got nil" },
      { "record", "record: table expected, got string" }, { false, "record: table expected, got boolean" },
      { { id = "a" }, "vector: string or array of numbers expected, got nil" },
      { { id = "a", vector = {} }, "vector: dimension 3 expected, got 0" },
      { { id = "a", vector = { 1, 2 } }, "vector: dimension 3 expected, got 2" },
      { { id = "a", vector = { 1, 2, 3, 4 } }, "vector: dimension 3 expected, got 4" },
      { { id = "a", vector = { 1, 2, "3" } }, "vector: number 3 of 3 is a string" },
      { { id = "a", vector = { 1, 0 / 0, 3 } }, "vector: number 2 of 3 is not finite" },
      { { id = "a", vector = { 1, 2, -1 / 0 } }, "vector: number 3 of 3 is not finite" },
      { { id = "a", vector = { 1, 2, 1e39 } }, "vector: number 3 of 3 is not finite" },
      { { id = "a", vector = { 0, 0, -0.0 } }, "vector: all of its 3 numbers are zero" },
      { { id = "a", vector = "" }, "vector: dimension 3 expected, got 0" },
      { { id = "a", vector = packed(1, 2) }, "vector: dimension 3 expected, got 2" },
      { { id = "a", vector = packed(1, 2, 1) .. "x" }, "vector: float32 expected, got 13 bytes, which are not fours" },
      { { id = "a", vector = packed(1, 2) .. "\0\0\192\127" }, "vector: number 3 of 3 is not finite" },
      { { id = "a", vector = packed(0, 0, 0) }, "vector: all of its 3 numbers are zero" },
      { { id = "a", vector = "[1,2]" }, "vector: dimension 3 expected, got 2" },
      { { id = "a", vector = "[]" }, "vector: dimension 3 expected, got 0" },
      { { id = "a", vector = "[1,2,3e38e]" }, "vector: not a JSON array of numbers: wrong after 3 of them" },
      { { id = "a", vector = "[1,2,1e39]" }, "vector: number 3 of 3 is not finite" },
      { { id = "a", vector = "[1,2,3" }, "vector: not a JSON array of numbers: wrong after 3 of them" },
      { { id = "a", vector = "[1,2,NaN]" }, "vector: not a JSON array of numbers: wrong after 2 of them" },
      { { id = "a", vector = "[0,0.0,-0e5]" }, "vector: all of its 3 numbers are zero" },
      { { id = "a", vector = good, path = 5 }, "path: string of at most 4096 bytes expected, got number" },
      { { id = "a", vector = good, tags = ("x"):rep(4097) }, "tags: string of at most 4096 bytes expected, got a longer one" },
      { { id = "a", vector = good, mtime = "now" }, "mtime: number within 2^53 expected" },
      { { id = "a", vector = good, size = 1.5 }, "size: integer within 2^53 expected" },
      { { id = "a", vector = good, size = 0 / 0 }, "size: integer within 2^53 expected" },
    }
    local records, expected = {}, {}
    for i, case in ipairs(cases) do
      records[2 * i - 1] = { id = "good" .. i, vector = good }
      records[2 * i], expected[2 * i] = case[1], case[2]
    end
    local stored, bad = s:put(records)
    assert.same(expected, bad)
    assert.equal(#cases, stored)
    assert.equal(#cases, s:count())
    assert.same({ 0 }, { s:put {} })
  end)

  it("reads JSON numbers as exactly as float32 is, and no more than JSON allows", function()
    local s, five = ready(1), open { collection = "next" }
    five:set_info { model = "m", dimension = 5 }
    local values = { "0.1", "3.4028234e38", "1e-45", "1.17549435E-38", "123456789012345678901234567890", "-0.000001234567",
      "16777217", "0." .. ("3"):rep(400), "1" .. ("0"):rep(38), "100000000000000000000000e-22", "0.0000000000000000000000000000001e30" }
    for _, text in ipairs(values) do
      assert.equal(2, s:put { { id = "text", vector = "[" .. text .. "]" }, { id = "number", vector = { tonumber(text) } } }, text)
      assert.equal(s:get("number").vector, s:get("text").vector, text)
    end
    for _, text in ipairs { "01", "+1", ".5", "1.", "1e", "1e+", "0x10", "1,", ",1", "1 2", "-", "--1", "1]", "[1", "\"1\"", "inf", "1\0" } do
      assert.is_truthy(select(2, five:put { { id = "a", vector = "[1,1,1,1," .. text .. "]" } }), text)
    end
  end)

  it("takes float32 that happens to look like text for what it is", function()
    local s = ready(2)
    for _, bytes in ipairs { "[abcdef]", "[1,2,3,4", " [ 5,6 \0" } do
      assert.equal(1, s:put { { id = "a", vector = bytes } })
      assert.equal(bytes, s:get("a").vector)
    end
  end)

  it("remembers model and dimension, and refuses others", function()
    local s = open()
    assert.is_nil(s:info())
    assert.same({ 0, {}, {} }, { s:count(), s:has { "a" }, s:search({ 1 }, 5) })
    local _, why = s:put { { id = "a", vector = { 1 } } }
    assert.equal(folder .. "/index: the collection is not there yet: set_info makes it", why)
    assert.is_true(s:set_info { model = "m", dimension = 3 })
    assert.is_true(s:set_info { model = "m", dimension = 3, distance = "cosine" })
    for _, other in ipairs { { model = "n", dimension = 3 }, { model = "m", dimension = 4 } } do
      local done
      done, why = s:set_info(other)
      assert.is_nil(done)
      assert.equal(("%s/index: holds vectors of m (dimension 3), not of %s (dimension %d): use that, name another file, " ..
        "or build the collection anew"):format(folder, other.model, other.dimension), why)
    end
    assert.is_true(s:clear())
    assert.is_nil(s:info())
    assert.is_true(s:set_info { model = "n", dimension = 4 })
  end)
end)

describe("a search", function()
  it("gives the exact cosine, best first, whatever the lengths", function()
    local s = ready(2)
    s:put { { id = "same", path = "p", vector = { 3, 4 } }, { id = "opposite", vector = { -0.5, -0.5 } },
      { id = "right", vector = { 0, 1e-30 } }, { id = "huge", vector = { 1e38, 3e38 } } }
    local hits = s:search({ 30, 40 }, 10)
    assert.same({ "same", "huge", "right", "opposite" }, ids_of(hits))
    local expected = { 1, (3 + 12) / (5 * math.sqrt(10)), 0.8, -7 / (5 * math.sqrt(2)) }
    for i, score in ipairs(expected) do assert.is_true(math.abs(hits[i].score - score) < 1e-6) end
    assert.same({ "p", nil }, { hits[1].path, hits[2].path })
    assert.same({ "same", "huge" }, ids_of(s:search("[30,40]", 2)))
  end)

  it("finds the same as looking at all of them in Lua does", function()
    local s, dimension, records = ready(37), 37, {}
    local seed = 1
    local function random()
      seed = (seed * 16807) % 2147483647
      return seed / 2147483647 - 0.5
    end
    local function vector()
      local v = {}
      for i = 1, dimension do v[i] = random() end
      return v
    end
    for i = 1, 500 do records[i] = { id = "id" .. i, vector = vector() } end
    s:put(records)
    local function cosine(a, b)
      local ab, aa, bb = 0, 0, 0
      for i = 1, dimension do ab, aa, bb = ab + a[i] * b[i], aa + a[i] ^ 2, bb + b[i] ^ 2 end
      return ab / math.sqrt(aa * bb)
    end
    for _, top in ipairs { 1, 7, 500, 10000 } do
      local query = vector()
      table.sort(records, function(a, b) return cosine(a.vector, query) > cosine(b.vector, query) end)
      local hits = s:search(query, top)
      assert.equal(math.min(top, 500), #hits)
      for i, hit in ipairs(hits) do
        assert.equal(records[i].id, hit.id)
        assert.is_true(math.abs(hit.score - cosine(records[i].vector, query)) < 1e-6)
      end
    end
  end)

  it("gives equals in the order in which they came", function()
    local s = ready(1)
    for i = 1, 9 do s:put { { id = tostring(i), vector = { i } } } end
    assert.same({ "1", "2", "3" }, ids_of(s:search({ 5 }, 3)))
  end)

  it("passes over what the filter does not let through", function()
    local s = ready(1)
    s:put { { id = "1", path = "2026/01/a", tags = "cat, dog", vector = { 1 } }, { id = "2", path = "2026/02/b", tags = "dog", vector = { 1 } },
      { id = "3", path = "2025/01/c", tags = "catalogue", vector = { 1 } }, { id = "4", vector = { 1 } } }
    assert.same({ "1", "2" }, ids_of(s:search({ 1 }, 9, { prefix = "2026/" })))
    assert.same({ "1" }, ids_of(s:search({ 1 }, 9, { tag = "cat" })))
    assert.same({ "1", "2" }, ids_of(s:search({ 1 }, 9, { tag = "dog" })))
    assert.same({ "2" }, ids_of(s:search({ 1 }, 9, { tag = "dog", prefix = "2026/02" })))
    assert.same({}, ids_of(s:search({ 1 }, 9, { tag = "do" })))
    assert.equal(4, #s:search({ 1 }, 9, {}))
    assert.equal(4, #s:search({ 1 }, 9, { prefix = "" }))
  end)

  it("refuses a vector that is none of this index", function()
    local s = ready(2)
    for vector, why in pairs { ["[1]"] = "dimension 2 expected, got 1", ["[0,0]"] = "all of its 2 numbers are zero",
      ["[1"] = "not a JSON array of numbers: wrong after 1 of them" } do
      assert.same({ nil, folder .. "/index: vector: " .. why }, { s:search(vector, 1) })
    end
  end)
end)

describe("collections", function()
  it("are built beside the live one, take its place in one step, and give it back", function()
    local live = ready(2)
    live:put { { id = "old", vector = { 1, 0 } } }
    local _, why = live:swap()
    assert.equal(folder .. "/index: nothing to swap in: build the collection \"next\" first", why)
    _, why = live:rollback()
    assert.equal(folder .. "/index: nothing to go back to: there is no collection \"previous\"", why)

    local building = open { collection = "next" }
    assert(building:set_info { model = "other", dimension = 3 })
    assert.equal(1, building:put { { id = "new", vector = { 1, 2, 3 } } })
    assert.same({ "old" }, live:ids())
    assert.same({ "new" }, building:ids())

    assert.is_true(building:swap())
    assert.same({ "new" }, live:ids())
    assert.same({ "other", 3 }, { live:info().model, live:info().dimension })
    assert.is_nil(building:info())
    local previous = open { collection = "previous" }
    assert.same({ "old" }, previous:ids())

    assert.is_true(live:rollback())
    assert.same({ { "old" }, { "new" } }, { live:ids(), previous:ids() })
    assert.is_true(live:rollback())
    assert.same({ { "new" }, { "old" } }, { live:ids(), previous:ids() })

    building:set_info { model = "third", dimension = 1 }
    assert.is_true(building:swap())
    assert.same({ {}, { "new" } }, { live:ids(), previous:ids() })
    assert.is_true(previous:clear())
    assert.is_nil((live:rollback()))
    assert.equal("third", live:info().model)
  end)

  it("may be the first one", function()
    local building = open { collection = "next" }
    building:set_info { model = "m", dimension = 1 }
    assert.is_true(building:swap())
    assert.equal("m", open():info().model)
    assert.is_nil(open({ collection = "previous" }):info())
  end)
end)

describe("a file", function()
  local function refusal(options, name)
    local s, why = store.open(folder .. "/" .. (name or "index"), options)
    assert.is_nil(s)
    assert.equal(folder .. "/" .. (name or "index") .. ": ", why:sub(1, #folder + #(name or "index") + 3))
    assert.is_nil(why:find("\n"))
    return why:sub(#folder + #(name or "index") + 4)
  end

  it("that is not one of ours is refused and left as it is", function()
    assert.equal("No such file or directory", refusal { readonly = true })
    assert.equal("No such file or directory", refusal({}, "nowhere/index"))
    assert.equal("Is a directory", refusal({}, "."))
    harness.write(folder .. "/index", ("no database "):rep(200))
    assert.equal("not a database: name another file, or remove this one", refusal())
    assert.equal(("no database "):rep(200), harness.read(folder .. "/index"))
    os.remove(folder .. "/index")
    sql("CREATE TABLE t(a)")
    assert.equal("a database, but not one of revec.store's: name another file", refusal())
    harness.write(folder .. "/empty", "")
    assert.equal("a database, but not one of revec.store's: name another file", refusal({ readonly = true }, "empty"))
  end)

  it("of a newer schema is refused", function()
    ready(1):close()
    sql("PRAGMA user_version = 2")
    assert.equal("made by a newer revec (schema 2, this one knows 1): update revec", refusal())
  end)

  it("that was cut is refused with one line, or read as far as it is whole", function()
    local s = ready(100)
    local records, v = {}, {}
    for i = 1, 100 do v[i] = i end
    for i = 1, 300 do records[i] = { id = "id" .. i, vector = v } end
    s:put(records)
    s:close()
    local whole = harness.read(folder .. "/index")
    for _, share in ipairs { 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99 } do
      harness.write(folder .. "/index", whole:sub(1, math.floor(#whole * share)))
      local cut, why = store.open(folder .. "/index")
      if cut then
        local hits
        hits, why = cut:search(v, 10)
        assert.is_truthy(hits or why)
        cut:put { { id = "new", vector = v } }
        cut:close()
      end
      assert.is_nil((why or ""):find("\n"))
    end
    for _, place in ipairs { 101, 4097, 4200, 9000, 20000, 100000 } do
      harness.write(folder .. "/index", whole:sub(1, place) .. ("\255"):rep(300) .. whole:sub(place + 301))
      local broken = store.open(folder .. "/index")
      if broken then
        for _, method in ipairs { "count", "ids", "info" } do broken[method](broken) end
        broken:search(v, 10)
        broken:has { "id1", "id200" }
        broken:put(records)
        broken:close()
      end
    end
  end)

  it("that may not be written is read, but not opened for writing", function()
    ready(1):put { { id = "a", vector = { 1 } } }
    stores[1]:close()
    harness.shell("chmod 444 '" .. folder .. "/index'")
    -- Root may write anything, unless it gives that right up.
    local wrapper = harness.run { command = { "id", "-u" } }.stdout == "0\n" and { "setpriv", "--bounding-set=-all", "--inh-caps=-all" } or nil
    local result = child([[
      local store = require "revec.store"
      print(store.open(arg[1]))
      local s = assert(store.open(arg[1], { readonly = true }))
      print(s:count())
      print(s:put { { id = "b", vector = { 1 } } })
      print(s:clear())
    ]], wrapper):wait()
    local refused = "nil\t" .. folder .. "/index: read-only: open it for writing, as a user who may write to it and to its folder\n"
    assert.equal(refused .. "1\n" .. refused .. refused, result.output)
  end)

  it("opened read-only is not written", function()
    local s = ready(1)
    local reader = open { readonly = true }
    for method, argument in pairs { put = { { id = "a", vector = { 1 } } }, delete = { "a" }, set_info = { model = "x", dimension = 1 },
      clear = false, swap = false } do
      local _, why = reader[method](reader, argument or nil)
      assert.is_truthy(why and why:find(": read-only: ", 1, true), method)
    end
    assert.equal("m", s:info().model)
  end)

  it("that is full loses nothing of what was there, and takes more once there is room", function()
    local s = ready(1000, { max_bytes = 100000 })
    local v, stored = {}, 0
    for i = 1, 1000 do v[i] = i end
    local n, why
    for i = 1, 100 do
      n, why = s:put { { id = "a" .. i, vector = v }, { id = "b" .. i, vector = v } }
      if not n then break end
      stored = stored + n
    end
    assert.is_nil(n)
    assert.equal(folder .. "/index: full: there is no room on the disk, or max_bytes is reached: make room and run again", why)
    assert.is_true(stored > 10 and stored % 2 == 0)
    assert.equal(stored, s:count())
    assert.equal(10, #s:search(v, 10))
    assert.equal(2, s:delete { "a1", "b1" })
    assert.equal(1, s:put { { id = "c", vector = v } })
    s:close()
    assert.equal(1, open():put { { id = "d", vector = v } })
  end)

  it("that another process has locked is waited for, then given up with a line", function()
    local s = ready(1, { timeout = 0.05 })
    local other = child [[
      local db = assert(require("DBI").Connect("SQLite3", arg[1]))
      db:autocommit(true)
      assert(assert(db:prepare("BEGIN EXCLUSIVE")):execute())
      print("locked")
      io.stdout:flush()
      require("socket").sleep(30)
    ]]
    other:wait_for("locked")
    local why = folder .. "/index: locked by another process for more than 0.05 s: try again when that is done"
    assert.same({ nil, why }, { s:count() })
    assert.same({ nil, why }, { s:put { { id = "a", vector = { 1 } } } })
    assert.same({ nil, why }, { store.open(folder .. "/index", { timeout = 0.05 }) })
    other:signal("KILL")
    other:wait()
    local patient = open { timeout = 20 }
    assert.equal(1, patient:put { { id = "a", vector = { 1 } } })
  end)

  it("holds every batch that put has taken, and no half of one, when the process is killed", function()
    ready(100):close()
    for round = 1, 3 do
      local writer = child(([[
        local s = assert(require("revec.store").open(arg[1]))
        local v = {}
        for i = 1, 100 do v[i] = i end
        for batch = 1, 1e9 do
          local records = {}
          for i = 1, 50 do records[i] = { id = ("%d/%%d/%%d"):format(batch, i), vector = v } end
          assert(s:put(records))
          io.stdout:write(batch, "\n")
          io.stdout:flush()
        end
      ]]):format(round))
      writer:wait_for("\n" .. 5 * round .. "\n")
      writer:signal("KILL")
      writer:wait()
      local told = tonumber(writer:output_so_far():match("(%d+)\n$"))
      -- Reading only is enough to undo what was left half done.
      local s = open { readonly = true }
      local here = 0
      for _, id in ipairs(s:ids(round .. "/", 1000000)) do here = here + (id:find("^" .. round .. "/") and 1 or 0) end
      assert.equal(0, here % 50)
      assert.is_true(here >= 50 * told and here <= 50 * (told + 1), here .. " of " .. 50 * told)
      s:close()
    end
    open():put { { id = "last", vector = "[" .. ("1,"):rep(99) .. "1]" } }
    assert.is_nil(harness.read(folder .. "/index-journal"))
  end)
end)

describe("the arguments of a store", function()
  it("are named when they are wrong", function()
    local s = ready(1)
    local path = folder .. "/index"
    local cases = {
      { store.open, "path: string expected, neither empty nor with NUL bytes, got no value" },
      { store.open, "path: string expected", "" }, { store.open, "path: string expected", "a\0b" }, { store.open, "path: string expected", 5 },
      { store.open, "collection: \"live\", \"next\" or \"previous\" expected, got dead", path, { collection = "dead" } },
      { store.open, "collection: string without NUL bytes expected, got number", path, { collection = 5 } },
      { store.open, "timeout: number 0..3600 expected, got -1", path, { timeout = -1 } },
      { store.open, "timeout: number 0..3600 expected, got string", path, { timeout = "1" } },
      { store.open, "max_bytes: integer 0.." , path, { max_bytes = 1.5 } },
      { s.set_info, "model: string expected", s, { dimension = 3 } }, { s.set_info, "model: string expected", s, { model = "" } },
      { s.set_info, "model: at most 512 bytes expected, got 513", s, { model = ("x"):rep(513), dimension = 1 } },
      { s.set_info, "dimension: integer 1..65536 expected, got nil", s, { model = "m" } },
      { s.set_info, "dimension: integer 1..65536 expected, got 0", s, { model = "m", dimension = 0 } },
      { s.set_info, "distance: \"cosine\" expected, got dot", s, { model = "m", dimension = 1, distance = "dot" } },
      { s.search, "top: integer 1..10000 expected, got 0", s, { 1 }, 0 },
      { s.search, "top: integer 1..10000 expected, got no value", s, { 1 } },
      { s.search, "prefix: string expected, got number", s, { 1 }, 1, { prefix = 5 } },
      { s.ids, "limit: integer 1..1000000 expected, got 0", s, "", 0 },
      { s.has, "ids: array of strings expected, got a number at 2", s, { "a", 5 } },
      { s.delete, "ids: array of strings expected, got a table at 1", s, { {} } },
    }
    local wrong = {}
    for _, case in ipairs(cases) do
      local why = raised(case[1], unpack(case, 3))
      if why:sub(1, #case[2]) ~= case[2] then wrong[#wrong + 1] = why .. " -- expected: " .. case[2] end
    end
    assert.same({}, wrong)
  end)

  it("never crash a method, whatever they are, nor leave it unusable", function()
    local s = ready(2)
    local values = { false, true, 0, -1, 0 / 0, 1e300, "", "x", ("x"):rep(100000), {}, { {} }, { 1 }, { "a" }, print, io.stdout, s,
      coroutine.create(function() end), setmetatable({}, { __index = function() error("indexed", 0) end }) }
    for name, method in pairs(getmetatable(s) == "revec.store" and debug.getmetatable(s).__index or {}) do
      if name ~= "close" then
        for _, a in ipairs(values) do
          pcall(method, a)
          pcall(method, s, a)
          for _, b in ipairs(values) do pcall(method, s, a, b) end
        end
        pcall(method)
        pcall(method, s, { { id = "a", vector = { 1, 2 } } }, 1, { tag = {} })
      end
    end
    s:clear()
    s:set_info { model = "m", dimension = 2 }
    assert.equal(1, s:put { { id = "a", vector = { 1, 2 } } })
  end)

  it("may raise in the middle: then nothing of the call is there", function()
    local s = ready(1)
    local trap = setmetatable({}, { __index = function() error("trap", 0) end })
    assert.equal("trap", raised(s.put, s, { { id = "a", vector = { 1 } }, trap }))
    assert.equal(0, s:count())
    s:put { { id = "a", vector = { 1 } } }
    assert.has_error(function() s:delete { "a", 5 } end)
    assert.equal(1, s:count())
  end)

  it("may not use or close the store meanwhile", function()
    local s = ready(1)
    for _, method in ipairs { "count", "close" } do
      local busy = setmetatable({}, { __index = function() s[method](s) end })
      assert.equal("store: in use: a method of it is running", raised(s.put, s, { busy }))
    end
    assert.equal(0, s:count())
  end)
end)

describe("a closed store", function()
  it("says so", function()
    local s = ready(1)
    s:close()
    s:close()
    assert.equal("store: closed", raised(s.count, s))
    for _, method in ipairs { "count", "put", "close" } do
      assert.has_error(function() s[method]() end)
      assert.has_error(function() s[method](io.stdout) end)
    end
    assert.equal("revec.store", getmetatable(s))
  end)

  it("holds no descriptor, nor does one that was dropped or refused", function()
    local function descriptors()
      collectgarbage()
      collectgarbage()
      return #harness.list("/proc/self/fd")
    end
    ready(1):close()
    harness.write(folder .. "/text", ("no database "):rep(200))
    local before = descriptors()
    for _ = 1, 20 do
      assert(store.open(folder .. "/index")):count()
      store.open(folder .. "/text")
      store.open(folder .. "/nowhere/x")
    end
    assert.equal(before, descriptors())
  end)
end)
