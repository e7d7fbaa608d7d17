-- Milvus' adapter against its contract server (spec/support/services).

require("spec.support.paths")
local core = require("revec.core")
local asking = require("spec.support.asking")
local index_contract = require("spec.support.index_contract")
local milvus = require("revec.indexes.milvus")
local server = require("spec.support.server")

describe("Milvus", function()
  local service

  setup(function() service = server.start('return (require("spec.support.services.milvus"))') end)
  teardown(server.stop_all)

  local function open(collection, settings)
    settings = settings or {}
    settings.url, settings.collection = settings.url or service.url, collection
    return milvus.new(settings)
  end

  local function make_plain(collection)
    local index = open(collection)
    assert.is_true(asking.run(index, function(ask) return index:make(ask, collection, { model = "m", dimension = 8, distance = "cosine" }) end))
  end

  index_contract(describe, it, { open = open, make_plain = make_plain })

  it("is given user and password, or a key, as a bearer's token", function()
    assert.same({ "Authorization: Bearer root:Milvus" }, open("c", { token = "root:Milvus" }).headers)
  end)

  it("finds more ids than a query gives by itself", function()
    local index, ids, records, wanted = open("many"), {}, {}, {}
    for i = 1, 250 do
      ids[i] = "id " .. i
      wanted[ids[i]] = true
      records[i] = { id = ids[i], path = ids[i], vector = assert(core.vector { i, 1 }) }
    end
    asking.run(index, function(ask)
      assert.is_true(index:create(ask, { model = "m", dimension = 2, distance = "cosine" }))
      assert.same({}, index:put(ask, records))
      assert.same(wanted, index:find(ask, ids))
    end)
  end)

  -- A good status with a code that is none, and what becomes of it.
  for name, case in pairs {
    ["a limit of requests"] = { '{"code":1807,"message":"request is rejected by limiter"}', "overloaded", "request is rejected by limiter" },
    ["a wrong password"] = { '{"code":1800,"message":"user hasn\'t authenticated"}', "denied", "user hasn't authenticated" },
    ["a wrong record"] = { '{"code":1804,"message":"fail to deal the insert data"}', "rejected", "fail to deal the insert data" },
    ["another code"] = { '{"code":65535,"message":"no"}', "backend_error", "no" },
    ["an answer without a code"] = { '{"data":{}}', "bad_answer", '{"data":{}}' },
    ["an answer without data"] = { '{"code":0}', "bad_answer", "an answer without data as they should be" },
    ["fewer records than were sent"] = { '{"code":0,"data":{"upsertCount":0,"upsertIds":[]}}', "backend_error", "0 of 1 records stored" },
  } do
    it("takes " .. name .. " for a failure", function()
      local body, kind, message = (table.unpack or unpack)(case) -- luacheck: ignore
      local other = server.start(("return function(_, reply) reply.json(200, %q) end"):format(body))
      local index = open("c", { url = other.url })
      local value, failure = asking.run(index, function(ask)
        return index:put(ask, { { id = "a", path = "a", vector = assert(core.vector("[1]")) } })
      end)
      other:stop()
      assert.is_nil(value)
      assert.same({ kind, message }, { failure.kind, failure.message })
    end)
  end
end)
