-- The adapter of Elasticsearch and OpenSearch against their contract server (spec/support/services).

require("spec.support.paths")
local core = require("revec.core")
local asking = require("spec.support.asking")
local elasticsearch = require("revec.indexes.elasticsearch")
local index_contract = require("spec.support.index_contract")
local server = require("spec.support.server")

for _, kind in ipairs { "elasticsearch", "opensearch" } do
  describe(kind, function()
    local service

    setup(function() service = server.start(('return require("spec.support.services.elasticsearch")(%q)'):format(kind)) end)
    teardown(server.stop_all)

    local function open(collection)
      return elasticsearch.new { kind = kind, url = service.url .. "/", collection = collection }
    end

    local function make_plain(collection)
      local index = open(collection)
      assert.is_true(asking.run(index, function(ask) return index:make(ask, collection, { model = "m", dimension = 2, distance = "cosine" }) end))
    end

    index_contract(describe, it, { open = open, make_plain = make_plain })

    it("puts into an index that is no alias as well, once it has been asked for", function()
      make_plain("plain")
      local index = open("plain")
      asking.run(index, function(ask)
        assert.equal(2, index:info(ask).dimension)
        assert.same({}, index:put(ask, { { id = "a", path = "a", vector = assert(core.vector { 1, 2 }) } }))
        assert.same({ a = true }, index:find(ask, { "a" }))
      end)
    end)
  end)
end

describe("elasticsearch", function()
  teardown(server.stop_all)

  local function open(url, settings)
    settings = settings or {}
    settings.kind, settings.url, settings.collection = settings.kind or "elasticsearch", url, "c"
    return elasticsearch.new(settings)
  end

  -- put's results, when the n-th _bulk is answered with the n-th list of statuses (the last one again and again), and how many
  -- records each of them had.
  local function put(ids, ...)
    local answers = {}
    for i, statuses in ipairs { ... } do
      local items = {}
      for j, status in ipairs(statuses) do
        items[j] = ('{"index":{"status":%d%s}}'):format(status, status >= 300 and ',"error":{"type":"t","reason":"because"}' or "")
      end
      answers[i] = ("%q"):format('{"items":[' .. table.concat(items, ",") .. "]}")
    end
    local service = server.start(([[
      local answers = { %s }
      return function(request, reply)
        if request.method == "GET" then return reply.json(200, '{"sizes":"' .. table.concat(state, " ") .. '"}') end
        state[#state + 1] = select(2, request.body:gsub("\n", "")) / 2
        reply.json(200, answers[math.min(#state, #answers)])
      end
    ]]):format(table.concat(answers, ",")))
    local index, records = open(service.url), {}
    for i, id in ipairs(ids) do records[i] = { id = id, path = id, vector = assert(core.vector { 1 }) } end
    local bad, failure = asking.run(index, function(ask) return index:put(ask, records) end)
    local sizes = require("socket.http").request(service.url):match('"sizes":"(.-)"'):gsub("%.0", "")
    service:stop()
    return bad, failure, sizes
  end

  it("sends again those records alone that a full queue turned away", function()
    local bad, _, sizes = put({ "a", "b", "c", "d" }, { 201, 429, 200, 429 }, { 429, 201 }, { 201 })
    assert.same({}, bad)
    assert.equal("4 2 1", sizes)
  end)

  it("gives up those that are turned away four times", function()
    local bad, _, sizes = put({ "a", "b" }, { 201, 429 }, { 429 })
    assert.is_nil(bad[1])
    assert.same({ "overloaded", "because", 429 }, { bad[2].kind, bad[2].message, bad[2].status })
    assert.equal("2 1 1 1", sizes)
  end)

  it("tells of each record what is wrong with it", function()
    local bad = put({ "a", "b", "c" }, { 400, 201, 503 })
    assert.same({ "rejected", "because", 400 }, { bad[1].kind, bad[1].message, bad[1].status })
    assert.is_nil(bad[2])
    assert.same({ "backend_error", "because", 503 }, { bad[3].kind, bad[3].message, bad[3].status })
  end)

  it("takes an answer for fewer records than were sent for a failure", function()
    local bad, failure = put({ "a", "b" }, { 201 })
    assert.is_nil(bad)
    assert.same({ "bad_answer", "an answer for 1 records, where 2 were sent" }, { failure.kind, failure.message })
  end)

  it("does not take another service's 404 for an index that is not there", function()
    local service = server.start([[return function(_, reply) reply.json(404, '{"detail":"Not Found"}') end]])
    local index = open(service.url)
    local info, failure = asking.run(index, function(ask) return index:info(ask) end)
    service:stop()
    assert.is_nil(info)
    assert.same({ "not_found", "Not Found" }, { failure.kind, failure.message })
  end)

  it("is given its key, OpenSearch its token", function()
    assert.same({ "Authorization: ApiKey abc==" }, open("http://h:9200", { token = "abc==" }).headers)
    assert.same({ "Authorization: Bearer abc" }, open("http://h:9200", { token = "abc", kind = "opensearch" }).headers)
    assert.equal("http://***@h:9200/c", open("http://u:p@h:9200").where)
  end)
end)
