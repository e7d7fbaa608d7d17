-- The contract server of Elasticsearch and OpenSearch; see README.md. A server's source is:
--   return require("spec.support.services.elasticsearch")("opensearch")

local cjson = require("cjson.safe")
local memory = require("spec.support.services.memory").new()
local array = memory.array

local function fail(status, kind, reason)
  return status, cjson.encode { error = { root_cause = { { type = kind, reason = reason } }, type = kind, reason = reason }, status = status }
end

local function missing(name) return fail(404, "index_not_found_exception", "no such index [" .. name .. "]") end

local function acknowledged() return 200, '{"acknowledged":true}' end

-- Of a mapping: the vectors' dimension, or nil and what is wrong.
local readers = {
  elasticsearch = function(field)
    if field.type ~= "dense_vector" then return nil, "No handler for type [" .. tostring(field.type) .. "] declared on field [vector]" end
    if field.similarity ~= "cosine" then return nil, "Unknown value [" .. tostring(field.similarity) .. "] for field [similarity]" end
    return field.dims <= 4096 and field.dims or nil, "The number of dimensions should be in the range [1, 4096]"
  end,
  opensearch = function(field, settings)
    if field.type ~= "knn_vector" then return nil, "No handler for type [" .. tostring(field.type) .. "] declared on field [vector]" end
    if not (settings and settings.index and settings.index.knn) then return nil, "index.knn is not set" end
    local method = field.method
    if method.name ~= "hnsw" or method.engine ~= "lucene" or method.space_type ~= "cosinesimil" then return nil, "unknown method" end
    return field.dimension <= 16000 and field.dimension or nil, "Dimension value cannot be greater than 16000"
  end,
}

-- The k-NN part of a search: vector, k; or nil and what is wrong.
local queries = {
  elasticsearch = function(body)
    local knn = body.knn
    if not knn or knn.field ~= "vector" then return nil, "no field [knn]" end
    if knn.num_candidates < knn.k or knn.num_candidates > 10000 then return nil, "[num_candidates] cannot be less than [k] or more than 10000" end
    return knn.query_vector, knn.k
  end,
  opensearch = function(body)
    local knn = body.query and body.query.knn and body.query.knn.vector
    if not knn then return nil, "unknown query" end
    return knn.vector, knn.k
  end,
}

return function(flavour)
  local read, query = readers[flavour], queries[flavour]

  local function create(name, body)
    if name:find("[^%l%d_%-]") then return fail(400, "invalid_index_name_exception", "Invalid index name [" .. name .. "]") end
    if memory:is_taken(name) then return fail(400, "resource_already_exists_exception", "index [" .. name .. "] already exists") end
    local dimension, why = read(body.mappings.properties.vector, body.settings)
    if not dimension then return fail(400, "mapper_parsing_exception", why) end
    memory:create(name, { mappings = body.mappings, dimension = dimension, refreshed = {} })
    return acknowledged()
  end

  local function change_aliases(body)
    local after = {}
    for alias, name in pairs(memory.aliases) do after[alias] = name end
    for _, action in ipairs(body.actions) do
      local kind, about = next(action)
      if not memory.collections[about.index] then return missing(about.index) end
      if kind == "add" then
        if memory.collections[about.alias] then
          return fail(400, "invalid_alias_name_exception", "an index or data stream exists with the same name as the alias")
        end
        -- One alias of two indexes is allowed by the service, and wrong here.
        if after[about.alias] then return fail(500, "test", "an alias of two indexes") end
        after[about.alias] = about.index
      else
        if after[about.alias] ~= about.index then return fail(404, "aliases_not_found_exception", "aliases [" .. about.alias .. "] missing") end
        after[about.alias] = nil
      end
    end
    memory.aliases = after
    return 200, '{"acknowledged":true,"errors":false}'
  end

  -- GET /NAME*/_alias: indexes whose names, or whose aliases, begin so.
  local function list_aliases(pattern)
    local begin, parts = pattern:match("^(.*)%*$"), {}
    for name in pairs(memory.collections) do
      local matches, of = name:sub(1, #begin) == begin, {}
      for alias, own in pairs(memory.aliases) do
        if own == name then
          matches = matches or alias:sub(1, #begin) == begin
          of[#of + 1] = cjson.encode(alias) .. ":{}"
        end
      end
      if matches then parts[#parts + 1] = cjson.encode(name) .. ':{"aliases":{' .. table.concat(of, ",") .. "}}" end
    end
    return 200, "{" .. table.concat(parts, ",") .. "}"
  end

  local function item(collection, id, document)
    if #id > 512 then return 400, "illegal_argument_exception", "id [" .. id .. "] is too long, must be no longer than 512 bytes" end
    if #document.vector ~= collection.dimension then
      return 400, "document_parsing_exception", ("The [dense_vector] field [vector] in doc [document with id '%s'] has a different number of "
        .. "dimensions [%d] than defined in the mapping [%d]"):format(id, #document.vector, collection.dimension)
    end
    local is_new = not collection.records[id]
    collection.records[id] = document
    return is_new and 201 or 200
  end

  local function bulk(name, request)
    if request.headers["content-type"] ~= "application/x-ndjson" then return fail(406, "media_type_header_exception", "Content-Type") end
    if request.body:sub(-1) ~= "\n" then return fail(400, "illegal_argument_exception", "The bulk request must be terminated by a newline [\\n]") end
    local collection, own = memory:resolve(name)
    local refused
    if request.query.require_alias == "true" and not memory.aliases[name] then
      refused = "no such index [" .. name .. "] and [require_alias] request flag is [true] and [" .. name .. "] is not an alias"
    elseif not collection then
      -- As the service does: made by what is put into it.
      memory:create(name, { mappings = { properties = {} }, dimension = 0, refreshed = {} })
      collection, own = memory:resolve(name)
    end
    local items, errors, id = {}, false, nil
    for line in request.body:gmatch("([^\n]*)\n") do
      local object = memory.decode(line)
      if not object then return fail(400, "illegal_argument_exception", "Malformed action/metadata line") end
      if not id then
        id = object.index._id
      else
        local status, kind, reason = 404, "index_not_found_exception", refused
        if not refused then status, kind, reason = item(collection, id, object) end
        errors = errors or status >= 300
        items[#items + 1] = cjson.encode { index = { _index = own or name, _id = id, status = status,
          error = reason and { type = kind, reason = reason } or nil } }
        id = nil
      end
    end
    return 200, ('{"took":1,"errors":%s,"items":%s}'):format(tostring(errors), array(items))
  end

  local function get_many(name, body)
    local collection, own = memory:resolve(name)
    local docs = {}
    for i, id in ipairs(body.ids) do
      docs[i] = cjson.encode { _index = own or name, _id = id, found = collection and collection.records[id] ~= nil or nil,
        error = not collection and { type = "index_not_found_exception", reason = "no such index [" .. name .. "]" } or nil }
    end
    return 200, '{"docs":' .. array(docs) .. "}"
  end

  local function search(collection, body)
    local vector, k = query(body)
    if not vector then return fail(400, "parsing_exception", k) end
    if #vector ~= collection.dimension then return fail(400, "query_shard_exception", "the query vector has a different dimension") end
    local hits = {}
    for i, hit in ipairs(memory.nearest({ records = collection.refreshed }, vector, math.min(k, body.size))) do
      hits[i] = cjson.encode { _id = hit.key, _score = (1 + hit.cosine) / 2, _source = { path = hit.record.path } }
    end
    return 200, '{"hits":{"hits":' .. array(hits) .. "}}"
  end

  local on_index = {
    ["GET /_mapping"] = function(collection, _, own) return 200, cjson.encode { [own] = { mappings = collection.mappings } } end,
    ["POST /_refresh"] = function(collection)
      collection.refreshed = {}
      for id, document in pairs(collection.records) do collection.refreshed[id] = document end
      return 200, '{"_shards":{"total":1,"successful":1,"failed":0}}'
    end,
    ["GET /_count"] = function(collection) return 200, '{"count":' .. memory.count { records = collection.refreshed } .. "}" end,
    ["POST /_search"] = search,
  }

  local function serve(request)
    local name, tail = request.path:match("^/([^/]*)(.*)$")
    local method = request.method .. " " .. tail
    if method == "POST /_bulk" then return bulk(name, request) end
    local body = memory.decode(request.body) or {}
    if request.body ~= "" and request.headers["content-type"] ~= "application/json" then return fail(406, "media_type_header_exception", "Content-Type") end
    if request.method == "POST" and name == "_aliases" then return change_aliases(body) end
    if method == "GET /_alias" then return list_aliases(name) end
    if method == "PUT " then return create(name, body) end
    if method == "POST /_mget" then return get_many(name, body) end
    if method == "DELETE " then
      if memory.aliases[name] then return fail(400, "illegal_argument_exception", "The provided expression matches an alias") end
      if not memory:drop(name) then return missing(name) end
      return acknowledged()
    end
    local collection, own = memory:resolve(name)
    if not collection then return missing(name) end
    if not on_index[method] then return fail(405, "method", "Incorrect HTTP method for uri [" .. request.target .. "]") end
    return on_index[method](collection, body, own)
  end

  return function(request, reply) reply.json(serve(request)) end
end
