-- Milvus' contract server (RESTful v2); see README.md. A server's source is: return (require("spec.support.services.milvus"))
-- Fields that a request's handler does not know are refused, which Milvus itself does not do.

local cjson = require("cjson.safe")
local memory = require("spec.support.services.memory").new()
local array = memory.array

local function fail(code, message) return 200, cjson.encode { code = code, message = message } end

local function ok(data) return 200, '{"code":0,"data":' .. data .. "}" end

local function missing(name) return fail(100, "collection not found[database=default][collection=" .. name .. "]") end

-- Bounded staleness, at its worst: what was written is not seen.
local function visible(collection, body)
  local strong = body.consistencyLevel == "Strong" or not body.consistencyLevel and collection.consistency == "Strong"
  return strong and collection or { records = {} }
end

local function create(body)
  if body.idType ~= "VarChar" or not tonumber((body.params or {}).max_length) then return fail(1100, "no length of the key") end
  if not ({ COSINE = true, L2 = true, IP = true })[body.metricType] then return fail(1100, "metric type not supported") end
  if memory:is_taken(body.collectionName) then return fail(65535, "duplicate collection: " .. body.collectionName) end
  memory:create(body.collectionName, { dimension = body.dimension, metric = body.metricType, id_bytes = tonumber(body.params.max_length),
    consistency = body.params.consistencyLevel or "Bounded", properties = {} })
  return ok("{}")
end

local function describe(body)
  local collection, own = memory:resolve(body.collectionName)
  if not collection then return missing(body.collectionName) end
  local properties = {}
  for key, value in pairs(collection.properties) do properties[#properties + 1] = cjson.encode { key = key, value = tostring(value) } end
  return ok(('{"collectionName":%s,"fields":%s,"indexes":[{"fieldName":"vector","indexName":"vector","metricType":"%s"}],"properties":%s,"aliases":[]}')
    :format(cjson.encode(own), array {
      cjson.encode { name = "id", type = "VarChar", primaryKey = true, params = { { key = "max_length", value = tostring(collection.id_bytes) } } },
      cjson.encode { name = "vector", type = "FloatVector", primaryKey = false, params = { { key = "dim", value = ("%d"):format(collection.dimension) } } },
    }, collection.metric, array(properties)))
end

local function drop(body)
  local name = body.collectionName
  if memory.aliases[name] then return fail(65535, "cannot drop the collection via alias = " .. name) end
  for alias, own in pairs(memory.aliases) do
    if own == name then return fail(65535, "unable to drop the collection [" .. name .. "] because it has associated aliases [" .. alias .. "]") end
  end
  memory:drop(name)
  return ok("{}")
end

local function upsert(collection, body)
  for _, row in ipairs(body.data) do
    if type(row.id) ~= "string" or #row.id > collection.id_bytes then return fail(1100, "the length of varchar field id exceeds max length") end
    if type(row.vector) ~= "table" or #row.vector ~= collection.dimension then
      return fail(1804, ("fail to deal the insert data, error: dimension: %d, but length of []float: %d"):format(collection.dimension, #row.vector))
    end
  end
  local ids = {}
  for i, row in ipairs(body.data) do
    collection.records[row.id] = row
    ids[i] = cjson.encode(row.id)
  end
  return ok(('{"upsertCount":%d,"upsertIds":%s}'):format(#ids, array(ids)))
end

local function query(collection, body)
  local seen, rows = visible(collection, body), {}
  if body.outputFields and body.outputFields[1] == "count(*)" then return ok('[{"count(*)":"' .. memory.count(seen) .. '"}]') end
  if body.filter ~= "id in {ids}" then return fail(1100, "failed to create query plan: cannot parse expression: " .. tostring(body.filter)) end
  local limit = body.limit or 100
  if limit < 1 or limit > 16384 then return fail(1100, "invalid max query result window, limit") end
  for _, id in ipairs((body.exprParams or {}).ids or {}) do
    if seen.records[id] and #rows < limit then rows[#rows + 1] = cjson.encode { id = id } end
  end
  return ok(array(rows))
end

local function search(collection, body)
  local vector = body.data[1]
  if body.annsField ~= "vector" then return fail(1100, "failed to get field schema by name") end
  if #vector ~= collection.dimension then return fail(1801, "can only accept json format request, error: dimension") end
  local rows = {}
  for i, hit in ipairs(memory.nearest(visible(collection, body), vector, body.limit or 100)) do
    local row = { distance = hit.cosine }
    for _, name in ipairs(body.outputFields or {}) do row[name] = hit.record[name] end
    rows[i] = cjson.encode(row)
  end
  return ok(array(rows))
end

-- A request on one collection's entities.
local function on(serve)
  return function(body)
    local collection = memory:resolve(body.collectionName)
    if not collection then return missing(body.collectionName) end
    return serve(collection, body)
  end
end

local function move_alias(body, is_there)
  if (memory.aliases[body.aliasName] ~= nil) ~= is_there then return fail(1600, "alias not found or there already[alias=" .. body.aliasName .. "]") end
  if memory.collections[body.aliasName] then return fail(1601, "alias and collection name conflict") end
  if not memory.collections[body.collectionName] then return missing(body.collectionName) end
  memory.aliases[body.aliasName] = body.collectionName
  return ok("{}")
end

local function names_of(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = cjson.encode(name) end
  return ok(array(names))
end

-- path → how it is served, the fields that it needs (!) and knows, with their types
local routes = {
  ["collections/list"] = { function() return names_of(memory.collections) end, {} },
  ["collections/has"] = { function(body) return ok('{"has":' .. tostring(memory:resolve(body.collectionName) ~= nil) .. "}") end,
    { collectionName = "string!" } },
  ["collections/describe"] = { describe, { collectionName = "string!" } },
  ["collections/create"] = { create, { collectionName = "string!", dimension = "number!", metricType = "string", idType = "string",
    primaryFieldName = "string", vectorFieldName = "string", params = "table" } },
  ["collections/alter_properties"] = { on(function(collection, body)
    for key, value in pairs(body.properties) do collection.properties[key] = value end
    return ok("{}")
  end), { collectionName = "string!", properties = "table" } },
  ["collections/drop"] = { drop, { collectionName = "string!" } },
  ["aliases/list"] = { function() return names_of(memory.aliases) end, {} },
  ["aliases/describe"] = { function(body)
    local own = memory.aliases[body.aliasName]
    if not own then return fail(1600, "alias not found[database=default][alias=" .. body.aliasName .. "]") end
    return ok(cjson.encode { dbName = "default", collectionName = own, aliasName = body.aliasName })
  end, { aliasName = "string!" } },
  ["aliases/create"] = { function(body) return move_alias(body, false) end, { aliasName = "string!", collectionName = "string!" } },
  ["aliases/alter"] = { function(body) return move_alias(body, true) end, { aliasName = "string!", collectionName = "string!" } },
  ["aliases/drop"] = { function(body)
    memory.aliases[body.aliasName] = nil
    return ok("{}")
  end, { aliasName = "string!" } },
  ["entities/upsert"] = { on(upsert), { collectionName = "string!", data = "table!" } },
  ["entities/query"] = { on(query), { collectionName = "string!", filter = "string", outputFields = "table", limit = "number",
    exprParams = "table", consistencyLevel = "string" } },
  ["entities/search"] = { on(search), { collectionName = "string!", data = "table!", annsField = "string", limit = "number",
    outputFields = "table", consistencyLevel = "string" } },
}

local function problem(known, body)
  for name, value in pairs(body) do
    if not known[name] or type(value) ~= known[name]:gsub("!", "") then return 1801, "can only accept json format request, error: " .. name end
  end
  for name, kind in pairs(known) do
    if kind:sub(-1) == "!" and body[name] == nil then return 1802, "missing required parameters, error: " .. name end
  end
end

return function(request, reply)
  local route = routes[request.path:match("^/v2/vectordb/(.*)$") or ""]
  if not route or request.method ~= "POST" then return reply.send(404, { ["Content-Type"] = "text/plain" }, "404 page not found") end
  local body = memory.decode(request.body)
  if type(body) ~= "table" then return reply.json(fail(1801, "can only accept json format request")) end
  local code, why = problem(route[2], body)
  if code then return reply.json(fail(code, why)) end
  reply.json(route[1](body))
end
