-- The index in one SQLite file keeps the contract of all indexes, and says what is wrong with its file.

local paths = require "spec.support.paths"
local harness = require "spec.support.harness"
local index_contract = require "spec.support.index_contract"
local core = require "revec.core"
local sqlite = require "revec.indexes.sqlite"

local INFO = { model = "m", dimension = 3, distance = "cosine" }

after_each(harness.cleanup)

local folder
local function file(name)
  folder = harness.tempdir()
  return folder .. "/" .. name
end

local function record(id, numbers)
  return { id = id, path = id .. ".jpg", vector = assert(core.vector(numbers or { 1, 2, 3 })) }
end

describe("sqlite:", function()
  local directory
  before_each(function() directory = harness.tempdir() end)
  index_contract(describe, it, {
    swaps = true,
    open = function(collection) return sqlite.new { path = directory .. "/" .. collection } end,
  })
end)

describe("an index file", function()
  it("is made when the collection is, not before", function()
    local path = file("index.sqlite")
    local index = assert(sqlite.new { path = path })
    assert.is_nil(index:info())
    assert.same({}, harness.list(folder))
    assert.is_true(index:create(nil, INFO))
    assert.same({ "index.sqlite" }, harness.list(folder))
  end)

  it("in a folder that is missing is refused in one line", function()
    local index, why = sqlite.new { path = "/no/such/index.sqlite" }
    assert.is_nil(index)
    assert.equal("/no/such/index.sqlite: the folder /no/such/ does not exist: make it first", why)
  end)

  it("that is something else is refused in one line", function()
    local path = file("picture.jpg")
    harness.write(path, ("not a database "):rep(100))
    local index, why = sqlite.new { path = path }
    assert.is_nil(index)
    assert.matches("^" .. path:gsub("%p", "%%%0") .. ": not a database: [^\n]*$", why)
  end)

  it("that is only read stays as it is", function()
    local path = file("index.sqlite")
    local index = assert(sqlite.new { path = path })
    assert.is_true(index:create(nil, INFO))
    assert.same({}, index:put(nil, { record("a") }))
    local reader = assert(sqlite.new { path = path, readonly = true })
    assert.same({ a = true }, reader:find(nil, { "a" }))
    local bad, failure = reader:put(nil, { record("b") })
    assert.is_nil(bad)
    assert.equal("unreachable", failure.kind)
    assert.matches("index%.sqlite: read%-only: ", failure.message)
    assert.equal(1, index:count())
  end)

  it("that cannot grow fails the call, not the images", function()
    local path = file("index.sqlite")
    local index = assert(sqlite.new { path = path })
    assert.is_true(index:create(nil, INFO))
    assert.same({}, index:put(nil, { record("a") }))
    -- A file-size limit of the process that writes, as on a disk that is full. SIGXFSZ is ignored, so that the write fails.
    local script = folder .. "/grow.lua"
    harness.write(script, ("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath) .. [[
      local core, index = require "revec.core", assert(require "revec.indexes.sqlite".new { path = arg[1] })
      local records = {}
      for i = 1, 1000 do records[i] = { id = ("x"):rep(500) .. i, path = ("y"):rep(500), vector = core.vector { 1, 2, 3 } } end
      local bad, failure = index:put(nil, records)
      print(bad, failure and failure.kind, failure and failure.message)
    ]])
    local words = table.concat(harness.lua_words(), " ")
    local run = harness.run { cwd = paths.root,
      command = { "/bin/sh", "-c", "trap '' XFSZ; ulimit -f 200; exec " .. words .. ' "$0" "$1"', script, path } }
    assert.matches("^nil\tunreachable\t[^\n]*index%.sqlite: disk I/O error: File too large\n$", run.output)
    assert.equal(1, index:count())
  end)

  it("is not asked for ids that it cannot have", function()
    local index = assert(sqlite.new { path = file("index.sqlite") })
    assert.is_true(index:create(nil, INFO))
    assert.same({}, index:put(nil, { record("a") }))
    assert.same({ a = true }, index:find(nil, { "a", ("x"):rep(513) }))
    local bad = index:put(nil, { record("b"), record(("x"):rep(513)) })
    assert.equal("rejected", bad[2].kind)
    assert.same({ b = true }, index:find(nil, { "b" }))
  end)
end)
