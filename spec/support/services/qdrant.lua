-- Qdrant's contract server; see README.md. A server's source is: return (require("spec.support.services.qdrant"))
-- Every request and every answer is held against Qdrant's own OpenAPI file. GET /last_upsert: the last upsert's body as it came.

local cjson = require("cjson.safe")
local core_root = arg[0]:match("^(.*)spec/support/[^/]*$")
local memory = require("spec.support.services.memory").new()
local array = memory.array
local description = require("spec.support.openapi").open(core_root .. "spec/data/qdrant_openapi.json")

local last_upsert

local function fail(status, why) return status, cjson.encode { status = { error = why }, time = 0.001 } end

local function ok(result) return 200, '{"result":' .. result .. ',"status":"ok","time":0.001}' end

local function missing(name) return fail(404, "Not found: Collection `" .. name .. "` doesn't exist!") end

local function info(name)
  local collection = memory:resolve(name)
  if not collection then return missing(name) end
  return ok(('{"status":"green","optimizer_status":"ok","segments_count":1,"points_count":%d,"payload_schema":{},"config":%s}'):format(
    memory.count(collection), cjson.encode {
      params = { vectors = collection.vectors }, metadata = collection.metadata,
      hnsw_config = { m = 16, ef_construct = 100, full_scan_threshold = 10000 },
      optimizer_config = { deleted_threshold = 0.2, vacuum_min_vector_number = 1000, default_segment_number = 0, flush_interval_sec = 5 },
    }))
end

local function create(name, body)
  if memory:is_taken(name) then return fail(409, "Wrong input: Collection `" .. name .. "` already exists!") end
  memory:create(name, { vectors = body.vectors, metadata = body.metadata })
  return ok("true")
end

-- All of them or none.
local function change_aliases(body)
  local after = {}
  for alias, name in pairs(memory.aliases) do after[alias] = name end
  for _, action in ipairs(body.actions) do
    local making, taking = action.create_alias, action.delete_alias
    if making then
      if not memory.collections[making.collection_name] then return missing(making.collection_name) end
      if memory.collections[making.alias_name] then return fail(409, "Wrong input: Collection `" .. making.alias_name .. "` already exists!") end
      after[making.alias_name] = making.collection_name
    elseif taking then
      if not after[taking.alias_name] then return fail(404, "Not found: Alias " .. taking.alias_name .. " does not exists!") end
      after[taking.alias_name] = nil
    end
  end
  memory.aliases = after
  return ok("true")
end

local function upsert(collection, body, query)
  for _, point in ipairs(body.points) do
    if type(point.vector[1]) ~= "number" then return fail(400, "Wrong input: Not existing vector name error") end
    if #point.vector ~= collection.vectors.size then
      return fail(400, ("Wrong input: Vector dimension error: expected dim: %d, got %d"):format(collection.vectors.size, #point.vector))
    end
  end
  -- Not waited for, it may be seen at any later time: here never.
  if query.wait ~= "true" then return ok('{"operation_id":1,"status":"acknowledged"}') end
  for _, point in ipairs(body.points) do collection.records[tostring(point.id):lower()] = { vector = point.vector, payload = point.payload } end
  return ok('{"operation_id":1,"status":"completed"}')
end

local function retrieve(collection, body)
  local points = {}
  for _, id in ipairs(body.ids) do
    local record = collection.records[tostring(id):lower()]
    if record then
      points[#points + 1] = cjson.encode { id = id, payload = body.with_payload ~= false and record.payload or nil,
        vector = body.with_vector and record.vector or nil }
    end
  end
  return ok(array(points))
end

local function search(collection, body)
  if #body.query ~= collection.vectors.size then return fail(400, "Wrong input: Vector dimension error") end
  local points = {}
  for i, hit in ipairs(memory.nearest(collection, body.query, body.limit or 10)) do
    local payload = {}
    for _, field in ipairs(body.with_payload or {}) do payload[field] = hit.record.payload[field] end
    points[i] = cjson.encode { id = hit.key, version = 1, score = hit.cosine, payload = payload }
  end
  return ok('{"points":' .. array(points) .. "}")
end

local on_points = {
  ["PUT /points"] = upsert,
  ["POST /points"] = retrieve,
  ["POST /points/count"] = function(collection) return ok('{"count":' .. memory.count(collection) .. "}") end,
  ["POST /points/query"] = search,
}

local function serve(request, body)
  if request.path == "/collections" then
    local names = {}
    for name in pairs(memory.collections) do names[#names + 1] = cjson.encode { name = name } end
    return ok('{"collections":' .. array(names) .. "}")
  elseif request.path == "/aliases" then
    local list = {}
    for alias, name in pairs(memory.aliases) do list[#list + 1] = cjson.encode { alias_name = alias, collection_name = name } end
    return ok('{"aliases":' .. array(list) .. "}")
  elseif request.path == "/collections/aliases" then
    return change_aliases(body)
  end
  local name, tail = request.path:match("^/collections/([^/]+)(.*)$")
  if tail ~= "" then
    local collection = memory:resolve(name)
    if not collection then return missing(name) end
    return on_points[request.method .. " " .. tail](collection, body, request.query)
  elseif request.method == "DELETE" then
    return ok(tostring(memory:drop(name)))
  end
  if request.method == "PUT" then return create(name, body) end
  return info(name)
end

return function(request, reply)
  if request.path == "/last_upsert" then return reply.send(200, {}, last_upsert) end
  local body = memory.decode(request.body)
  if request.body ~= "" and not (body and (request.headers["content-type"] or ""):find("^application/json")) then
    return reply.json(fail(400, "Format error in JSON body: expected value"))
  end
  local operation, why = description:request(request.method, request.path, request.query, body)
  if not operation then return reply.json(fail(400, "Format error: " .. why)) end
  if request.method == "PUT" and request.path:find("/points$") then last_upsert = request.body end
  local status, answer = serve(request, body)
  why = description:answer(operation, status, cjson.decode(answer))
  if why then error("an answer that is none: " .. why .. ": " .. answer) end
  reply.json(status, answer)
end
