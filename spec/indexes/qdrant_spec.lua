-- Qdrant's adapter against its contract server (spec/support/services), which holds both sides against Qdrant's OpenAPI file.

local paths = require("spec.support.paths")
local core = require("revec.core")
local http = require("socket.http")
local ltn12 = require("ltn12")
local socket = require("socket")
local asking = require("spec.support.asking")
local index_contract = require("spec.support.index_contract")
local harness = require("spec.support.harness")
local process = require("spec.support.process")
local qdrant = require("revec.indexes.qdrant")
local server = require("spec.support.server")
local services = require("spec.support.services")

local INFO = { model = "m", dimension = 2, distance = "cosine" }

describe("Qdrant", function()
  local service

  setup(function() service = server.start('return (require("spec.support.services.qdrant"))') end)
  teardown(server.stop_all)

  local function open(collection, settings)
    settings = settings or {}
    settings.url, settings.collection = settings.url or service.url .. "/", collection
    return qdrant.new(settings)
  end

  local function make_plain(collection)
    local index = open(collection)
    assert.is_true(asking.run(index, function(ask) return index:make(ask, collection, INFO) end))
  end

  index_contract(describe, it, { open = open, make_plain = make_plain })

  it("gets vectors as they stand, ids as UUIDs, and what belongs to them", function()
    local index = open("bytes")
    local text = "[1.50, -2e-1]"
    asking.run(index, function(ask)
      assert.is_true(index:create(ask, INFO))
      assert.same({}, index:put(ask, { { id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8", path = "a/b.jpg", tags = "x,y", mtime = 1700000000, size = 5,
        vector = assert(core.vector(text)) } }))
    end)
    assert.equal('{"points":[{"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","payload":{"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8",'
      .. '"path":"a/b.jpg","tags":["x","y"],"mtime":1700000000,"size":5},"vector":' .. text .. "}]}",
      (http.request(service.url .. "/last_upsert")))
  end)

  it("is given the key of the API, and headers", function()
    local index = open("keyed", { token = "secret", headers = { "X-Tenant: 7" } })
    assert.same({ "X-Tenant: 7", "api-key: secret" }, index.headers)
    assert.equal("http://***@host:6333/collections/keyed", open("keyed", { url = "http://user:pw@host:6333/" }).where)
  end)

  -- What a server says instead, and what becomes of it.
  for name, case in pairs {
    ["a 404 of another service"] = { "info", 404, '{"detail":"Not Found"}', "not_found", "Not Found" },
    ["a page of HTML"] = { "info", 200, "<html>", "bad_answer", "an HTML page instead of an answer" },
    ["a null"] = { "info", 200, '{"result":null,"status":"ok"}', "bad_answer", "an answer without a result as it should be" },
    ["a refusal"] = { "put", 400, '{"status":{"error":"Wrong input: x"},"time":0}', "rejected", "Wrong input: x" },
    ["an upsert that is only noted"] = { "put", 200, '{"result":{"operation_id":1,"status":"acknowledged"},"status":"ok"}', "backend_error",
      "not stored yet, though waited for: acknowledged" },
    ["an answer without a count"] = { "count", 200, '{"result":{},"status":"ok"}', "bad_answer", "an answer without a count" },
  } do
    it("takes " .. name .. " for a failure", function()
      local method, status, body, kind, message = (table.unpack or unpack)(case) -- luacheck: ignore
      local other = server.start(("return function(_, reply) reply.json(%d, %q) end"):format(status, body))
      local index = open("c", { url = other.url })
      local value, failure = asking.run(index, function(ask)
        return index[method](index, ask, { { id = "a", path = "a", vector = assert(core.vector("[1]")) } })
      end)
      other:stop()
      assert.is_nil(value)
      assert.same({ kind, message, status }, { failure.kind, failure.message, failure.status })
    end)
  end

  -- Prism stands between the adapter and the contract server and refuses what Qdrant's OpenAPI file does not have, on either side.
  describe("through Prism", function()
    local prism, missing = services.find("prism")
    if not prism then return it("says what Qdrant's OpenAPI file has", function() pending(missing) end) end

    local START_SECONDS = 20
    local url, child, dir

    setup(function()
      dir = harness.tempdir()
      local port = harness.free_port()
      url = "http://127.0.0.1:" .. port
      child = process.spawn { command = { prism, "proxy", "--errors", "-h", "127.0.0.1", "-p", tostring(port),
        paths.root .. "spec/data/qdrant_openapi.json", service.url }, stdout = dir .. "/out", stderr = dir .. "/err" }
      local deadline = core.now() + START_SECONDS
      while not http.request(url .. "/aliases") do
        assert(core.now() < deadline, process.read(dir .. "/out") .. process.read(dir .. "/err"))
        socket.sleep(0.05)
      end
    end)

    teardown(function()
      child:kill()
      harness.cleanup()
    end)

    it("every request and answer is as it says", function()
      local index = open("checked", { url = url })
      local v = assert(core.vector { 1, 0.5 })
      local record = { id = "图 a", path = "a.jpg", mtime = 1.5, size = 1, vector = v }
      asking.run(index, function(ask)
        assert.is_nil(index:info(ask))
        assert.is_true(index:create(ask, INFO))
        assert.is_true(index:stage(ask))
        assert.is_true(index:create(ask, INFO))
        assert.same(INFO, (index:info(ask)))
        assert.same({}, index:put(ask, { record }))
        assert.same({ [record.id] = true }, index:find(ask, { record.id, "b" }))
        assert.equal(1, index:count(ask))
        assert.equal(record.id, index:search(ask, v, 1)[1].id)
        assert.is_true(index:swap(ask))
        assert.is_true(index:rollback(ask))
        assert.is_true(index:drop(ask))
        local _, failure = index:put(ask, { record })
        assert.equal("not_found", failure.kind)
      end)
    end)

    it("a request that it does not have is refused", function()
      local text, answer = '{"with_vector":false}', {}
      http.request { method = "POST", url = url .. "/collections/c/points", source = ltn12.source.string(text), sink = ltn12.sink.table(answer),
        headers = { ["Content-Type"] = "application/json", ["Content-Length"] = #text } }
      assert.matches("stoplight.io/prism/errors#UNPROCESSABLE_ENTITY", table.concat(answer), 1, true)
    end)
  end)
end)
