--- Milvus, by its RESTful API v2 (2.5 and later, which take values beside a filter).
--
-- A failure is a 200 whose code is not 0. An upsert is repeatable and whole: one wrong record fails the call. Reads ask for strong
-- consistency, so that they see what was written before. The model is a property of the collection, "revec.model".
--
-- An alias is switched in one step; the bookkeeping around it (what is kept, what is staged) takes further ones.

local cjson = require "cjson.safe"
local aliases = require "revec.adapters.aliases"
local common = require "revec.adapters.common"
local options = require "revec.options"

local Milvus = {
  kind = "milvus",
  max_records = 1000,
  max_bytes = 16 * 2 ^ 20,
}
Milvus.__index = Milvus
aliases.extend(Milvus)

local ID_BYTES = 512
local MODEL = "revec.model"

--- @param settings url, collection, token ("user:password" or a key), headers
-- @return adapter; or nil and one line
local function new(settings)
  local why = common.check_service(settings)
  if why then return nil, why end
  local base = common.base(settings.url)
  return setmetatable({
    base = base .. "/v2/vectordb/",
    collection = settings.collection,
    target = settings.collection,
    where = options.redact(base) .. ", collection " .. settings.collection,
    probe_url = base .. "/v2/vectordb/collections/list",
    headers = common.headers(settings),
    routes = { post = { method = "POST", headers = common.json, json = true, whole = true, max_bytes = common.MAX_ANSWER } },
  }, Milvus)
end

function Milvus.check_id(_, id)
  return common.check_id(id, ID_BYTES)
end

-- Milvus' own codes (pkg/util/merr); those that are not here are failures of the service.
local KINDS = { [4] = "overloaded", [8] = "overloaded", [1807] = "overloaded", [100] = "not_found", [1100] = "rejected",
                [1804] = "rejected", [1400] = "denied", [1401] = "denied", [1800] = "denied" }

-- Asks, with a body of parts; what the answer has as its data, of a type, or nil and a failure; the event.
local function call(self, ask, path, body, kind)
  local event = ask("post", self.base .. path, body)
  if event.kind then return nil, common.failure(event) end
  local answer = common.decode(event)
  local code = common.at(answer, "code")
  if code ~= 0 then return nil, common.failure(event, nil, code and (KINDS[code] or "backend_error")) end
  local data = common.at(answer, "data")
  if type(data) == (kind or "table") then return data, nil, event end
  return nil, common.failure(event, "an answer without data as they should be")
end

local function simply(self, ask, path, body)
  local data, failure = call(self, ask, path, { cjson.encode(body) })
  return data and true, failure
end

function Milvus:info(ask)
  local body = { cjson.encode { collectionName = self.target } }
  local there, failure = call(self, ask, "collections/has", body)
  if not there then return nil, failure end
  if not there.has then return nil, nil end
  local about
  about, failure = call(self, ask, "collections/describe", body)
  if not about then return nil, failure end
  local info = {}
  for _, property in ipairs(common.at(about, "properties") or {}) do
    if property.key == MODEL then info.model = property.value end
  end
  for _, field in ipairs(common.at(about, "fields") or {}) do
    for _, param in ipairs(common.at(field, "params") or {}) do
      if field.type == "FloatVector" and param.key == "dim" then info.dimension = common.integer(param.value) end
    end
  end
  local metric = common.at(about, "indexes", 1, "metricType")
  info.distance = type(metric) == "string" and metric:lower() or nil
  return info
end

function Milvus:make(ask, name, info)
  local ok, failure = simply(self, ask, "collections/create", {
    collectionName = name, dimension = info.dimension, metricType = info.distance:upper(), idType = "VarChar", primaryFieldName = "id",
    vectorFieldName = "vector", params = { max_length = ID_BYTES, consistencyLevel = "Strong" },
  })
  if not ok then return nil, failure end
  return simply(self, ask, "collections/alter_properties", { collectionName = name, properties = { [MODEL] = info.model } })
end

function Milvus:names(ask)
  local names = { collections = {}, aliases = {} }
  local list, failure = call(self, ask, "collections/list", { "{}" })
  if not list then return nil, failure end
  for _, name in ipairs(list) do names.collections[name] = true end
  list, failure = call(self, ask, "aliases/list", { "{}" })
  if not list then return nil, failure end
  for _, alias in ipairs(list) do
    if alias:sub(1, #self.collection) == self.collection then
      local about
      about, failure = call(self, ask, "aliases/describe", { cjson.encode { aliasName = alias } })
      if not about then return nil, failure end
      names.aliases[alias] = about.collectionName
    end
  end
  return names
end

function Milvus:switch(ask, moves)
  for _, move in ipairs(moves) do
    local action = move.from and move.to and "alter" or move.to and "create" or "drop"
    local ok, failure = simply(self, ask, "aliases/" .. action, { aliasName = move.alias, collectionName = move.to })
    if not ok then return nil, failure end
  end
  return true
end

function Milvus:remove(ask, name)
  return simply(self, ask, "collections/drop", { collectionName = name })
end

function Milvus:find(ask, ids)
  local rows, failure = call(self, ask, "entities/query", {
    ('{"collectionName":%s,"filter":"id in {ids}","exprParams":{"ids":%s},"outputFields":["id"],"limit":%d,"consistencyLevel":"Strong"}')
      :format(common.quote(self.target), common.quote_all(ids), #ids),
  })
  if not rows then return nil, failure end
  local found = {}
  for _, row in ipairs(rows) do found[row.id] = true end
  return found
end

function Milvus:put(ask, records)
  local body = { '{"collectionName":' .. common.quote(self.target) .. ',"data":[' }
  for i, record in ipairs(records) do
    body[#body + 1] = (i > 1 and ",{" or "{") .. common.payload(record) .. ',"vector":'
    body[#body + 1] = record.vector
    body[#body + 1] = "}"
  end
  body[#body + 1] = "]}"
  local data, failure, event = call(self, ask, "entities/upsert", body)
  if not data then return nil, failure end
  if data.upsertCount ~= #records then
    local stored = tostring(common.integer(data.upsertCount))
    return nil, common.failure(event, ("%s of %d records stored"):format(stored, #records), "backend_error")
  end
  return {}
end

function Milvus:count(ask)
  local rows, failure, event = call(self, ask, "entities/query", { cjson.encode {
    collectionName = self.target, filter = "", outputFields = { "count(*)" }, consistencyLevel = "Strong",
  } })
  if not rows then return nil, failure end
  local count = common.integer(common.at(rows, 1, "count(*)"))
  if not count then return nil, common.failure(event, "an answer without a count") end
  return count
end

function Milvus:search(ask, vector, top)
  local rows, failure = call(self, ask, "entities/search", {
    '{"collectionName":' .. common.quote(self.target) .. ',"data":[', vector,
    ('],"annsField":"vector","limit":%d,"outputFields":["id","path"],"consistencyLevel":"Strong"}'):format(top),
  })
  if not rows then return nil, failure end
  local hits = {}
  for i, row in ipairs(rows) do hits[i] = { id = row.id, path = common.at(row, "path"), score = row.distance } end
  return hits
end

return { new = new }
