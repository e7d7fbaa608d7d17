-- PostgreSQL as an index: a real server keeps the contract of all indexes through the adapter, is left and found again, and what is wrong
-- with the way to it is told.

require "spec.support.paths"
local services = require "spec.support.services"
local harness = require "spec.support.harness"
local index_contract = require "spec.support.index_contract"
local core = require "revec.core"
local postgresql = require "revec.indexes.postgresql"
local revec = require "revec"

local found, missing = services.find("pglite-server")
if not found then return it("keeps the contract of all indexes", function() pending(missing) end) end

local server
setup(function() server = services.postgresql() end)
teardown(function() server:stop() end)

local opened = {}
local function open(collection, parameters, base)
  local index, why = postgresql.new { kind = "postgresql", url = (base or server.url) .. "&table=" .. core.escape(collection) .. (parameters or "") }
  opened[#opened + 1] = index
  return index, why
end
after_each(function()
  for _, index in ipairs(opened) do index:close() end
  opened = {}
end)

local INFO = { model = "m", dimension = 3, distance = "cosine" }

local function record(id, numbers)
  return { id = id, path = id .. ".jpg", vector = assert(core.vector(numbers or { 1, 2, 3 })) }
end

-- An index of that table, made anew, with one record.
local function filled(name, parameters)
  local index = assert(open(name, parameters))
  assert.is_true(index:create(nil, INFO))
  assert.same({}, index:put(nil, { record("a") }))
  return index
end

-- What a statement gives, by a connection of its own.
local function sql(text)
  local index = assert(open("none"))
  local rows, why = index:statement(text)
  if not rows then error(why.message) end
  return rows
end

describe("postgresql:", function()
  index_contract(describe, it, { swaps = true, open = open })
end)

describe("a table", function()
  it("has a column for each of a record's fields", function()
    local index = filled("columns")
    local odd = record('b "2"')
    odd.path, odd.tags, odd.mtime, odd.size = 'a\\b "c", {d}.jpg', 'x,y "z"', 1700000000.123456, 2 ^ 40
    local bare = record("c")
    odd.vector = assert(core.vector("[1e-3, -2.5E+1,\n3]"))
    assert.same({}, index:put(nil, { odd, bare }))
    assert.same({ { odd.path, "x", 'y "z"', odd.mtime, "1099511627776", "[0.001,-25,3]" } },
      sql([[SELECT path, tags[1], tags[2], mtime, size::text, embedding::text FROM columns WHERE id LIKE 'b%']]))
    assert.same({ { true, true, true } }, sql("SELECT tags IS NULL, mtime IS NULL, size IS NULL FROM columns WHERE id = 'c'"))
  end)

  it("may have an odd name, in a schema of its own", function()
    sql('CREATE SCHEMA "my ""schema"')
    local name, parameters = 'Bilder "A"; DROP\'', "&schema=" .. core.escape('my "schema')
    local index = filled(name, parameters)
    assert.same({ a = true }, assert(open(name, parameters)):find(nil, { "a" }))
    local info, why = assert(open(name)):info()
    assert.is_nil(info)
    assert.is_nil(why)
    assert.is_true(index:stage())
    assert.is_true(index:create(nil, INFO))
    assert.is_true(index:swap())
    assert.equal(0, index:count())
    assert.is_true(index:rollback())
    assert.equal(1, index:count())
  end)

  it("remembers models with any characters", function()
    local index = assert(open("models"))
    local info = { model = "a'b\\'c?$1 \"q\" \\u003f 模型", dimension = 3, distance = "cosine" }
    assert.is_true(index:create(nil, info))
    assert.same(info, (index:info()))
  end)

  it("that somebody else made tells its dimension", function()
    sql("CREATE TABLE foreigner (id text PRIMARY KEY, embedding vector(7))")
    assert.same({ dimension = 7 }, assert(open("foreigner")):info())
  end)

  it("takes a batch of long vectors in one call", function()
    local index = assert(open("long"))
    assert.is_true(index:create(nil, { model = "m", dimension = 2560, distance = "cosine" }))
    local records, ids = {}, {}
    for i = 1, 100 do
      local numbers = {}
      for k = 1, 2560 do numbers[k] = math.sin(i * k) end
      ids[i] = ("%03d"):format(i)
      records[i] = record(ids[i], numbers)
    end
    assert.same({}, index:put(nil, records))
    assert.equal(100, index:count())
    local hits = index:search(nil, records[42].vector, 2)
    assert.equal("042", hits[1].id)
    assert.near(1, hits[1].score, 1e-6)
  end)

  it("does not take ids that it cannot have", function()
    local index = filled("ids")
    assert.equal("id has a NUL byte, which PostgreSQL cannot store", index:check_id("a\0b"))
    assert.equal("id is 513 bytes long: at most 512", index:check_id(("x"):rep(513)))
    assert.same({ a = true }, index:find(nil, { "a\0b", "a", "caf\233" }))
  end)

  it("leaves no statements behind on the server", function()
    local index = filled("statements")
    for _ = 1, 5 do
      index:find(nil, { "a" })
      assert.equal("rejected", select(2, index:put(nil, { record("b", { 1 }) })).kind)
    end
    assert.same({ { 1 } }, sql("SELECT count(*) FROM pg_prepared_statements"))
  end)
end)

describe("the way to the server", function()
  -- A process between the adapter and the server, which breaks every connection when it is sent SIGUSR1. Its argument: the server's port.
  local RELAY = [[
    local uv = require "luv"
    local listener, ends = uv.new_tcp(), {}
    local function pass(from, to)
      from:read_start(function(_, bytes)
        if bytes then to:write(bytes) else from:close() if not to:is_closing() then to:close() end end
      end)
    end
    assert(listener:bind("127.0.0.1", 0))
    assert(listener:listen(8, function()
      local client, server = uv.new_tcp(), uv.new_tcp()
      listener:accept(client)
      server:connect("127.0.0.1", tonumber(arg[1]), function() pass(client, server) pass(server, client) end)
      ends = { client, server }
    end))
    uv.new_signal():start("sigusr1", function()
      for _, each in ipairs(ends) do each:close() end
      print("broken") io.stdout:flush()
    end)
    print("port " .. ("%d"):format(listener:getsockname().port)) io.stdout:flush()
    uv.run()
  ]]
  after_each(harness.cleanup)

  -- A relay to the server, and a URL of the server through it.
  local function relayed()
    local script = harness.tempdir() .. "/relay.lua"
    harness.write(script, RELAY)
    local command = harness.lua_words()
    command[#command + 1], command[#command + 2] = script, tostring(server.port)
    local relay = harness.spawn { command = command }
    return relay, "postgresql://postgres@127.0.0.1:" .. relay:wait_for("port (%d+)") .. "/postgres?sslmode=disable"
  end

  it("that goes away for good ends a rebuild, and fails no image", function()
    local relay, url = relayed()
    local storage = harness.tree { "a.jpg", "b.jpg", "c.jpg", "d.jpg" }
    local report = assert(revec.rebuild { direct = true, storage_path = storage, failed_dir = storage, index = url .. "&table=gone",
      embedder = function() return { 1, 2, 3 } end, batch_size = 1, on_success = function() relay:signal("KILL") relay:wait() end })
    assert.same({ "index", 1, 0, 3 }, { report.reason, report.succeeded, report.failed, report.pending })
    assert.matches("^no connection to", report.message)
  end)

  it("that is lost is found again, or told to be lost", function()
    filled("lost")
    local relay, url = relayed()
    local index = assert(open("lost", nil, url))
    assert.same({ a = true }, index:find(nil, { "a" }))
    relay:signal("USR1")
    relay:wait_for("broken")
    assert.same({}, index:put(nil, { record("b") }))
    assert.equal(2, index:count())
    relay:signal("KILL")
    relay:wait()
    local count, why = index:count()
    assert.is_nil(count)
    assert.equal("unreachable", why.kind)
    assert.matches("^no connection to postgresql://%*%*%*@127", why.message)
  end)

  it("that is not there is told in one line", function()
    local port = harness.free_port()
    local index = assert(open("images", nil, "postgresql://u:secret@127.0.0.1:" .. port .. "/db?sslmode=disable"))
    local info, why = index:info()
    assert.is_nil(info)
    assert.equal("unreachable", why.kind)
    assert.equal(("no connection to postgresql://***@127.0.0.1:%d/db?table=images: it is not there, or refuses this user, "
      .. "password or database (psql tells which)"):format(port), why.message)
  end)

  it("is shown without the password", function()
    local index = assert(postgresql.new { url = "postgresql://u:se@cret@h:1/db?table=images&password=hidden&sslmode=require" })
    assert.equal("postgresql://***@h:1/db?table=images", index.where)
  end)

  it("needs a table", function()
    local index, why = postgresql.new { url = "postgresql://u:secret@h/db" }
    assert.is_nil(index)
    assert.equal("postgresql://***@h/db: a table expected, as postgresql://USER@HOST/DATABASE?table=images", why)
    index, why = open(("t"):rep(55))
    assert.is_nil(index)
    assert.matches(": the table's name is 55 bytes long: at most 54$", why)
    index, why = open("a?b")
    assert.is_nil(index)
    assert.equal("a?b: a table or schema of UTF-8 without '?' expected", why)
  end)
end)
