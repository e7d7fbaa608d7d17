--- Qdrant, by its REST API (1.16 and later, which keep a collection's metadata).
--
-- An upsert is repeatable and waited for: what it stored is found by the next request. One wrong point fails the whole call.
-- Ids become UUIDs (common.uuid); the id itself is in the payload.

local cjson = require "cjson.safe"
local core = require "revec.core"
local aliases = require "revec.adapters.aliases"
local common = require "revec.adapters.common"
local options = require "revec.options"

local Qdrant = {
  kind = "qdrant",
  max_records = 1000,
  -- Its own limit is 32 MB.
  max_bytes = 16 * 2 ^ 20,
}
Qdrant.__index = Qdrant
aliases.extend(Qdrant)

local MAX = common.MAX_ANSWER

--- @param settings url, collection, token, headers
-- @return adapter; or nil and one line
local function new(settings)
  local why = common.check_service(settings)
  if why then return nil, why end
  local base = common.base(settings.url)
  return setmetatable({
    base = base,
    collection = settings.collection,
    target = settings.collection,
    where = options.redact(base) .. "/collections/" .. settings.collection,
    probe_url = base .. "/healthz",
    headers = common.headers(settings, "api-key: "),
    routes = {
      info = { json = true, whole = true, accept = { 404 } },
      list = { json = true, whole = true, max_bytes = MAX },
      put = { method = "PUT", headers = common.json, json = true, whole = true },
      post = { method = "POST", headers = common.json, json = true, whole = true, max_bytes = MAX },
      delete = { method = "DELETE", json = true, whole = true },
    },
  }, Qdrant)
end

function Qdrant.check_id(_, id)
  return common.check_id(id)
end

function Qdrant:url(tail, name)
  return self.base .. "/collections/" .. core.escape(name or self.target) .. (tail or "")
end

-- The answer's `result`, of a type; or nil and a failure.
local function result(event, kind)
  if event.kind then return nil, common.failure(event) end
  local value = common.at(common.decode(event), "result")
  if type(value) == kind then return value end
  return nil, common.failure(event, "an answer without a result as it should be")
end

local function done(event)
  local ok, failure = result(event, "boolean")
  if ok == false then return nil, common.failure(event, "refused without a reason", "backend_error") end
  return ok, failure
end

function Qdrant:info(ask)
  local event = ask("info", self:url())
  if event.status == 404 and not event.kind then
    -- Another service, or a path that is not Qdrant's, has no such error.
    local own = common.at(common.decode(event), "status", "error")
    return nil, not own and common.failure(event, nil, "not_found") or nil
  end
  local info, failure = result(event, "table")
  if not info then return nil, failure end
  local vectors = common.at(info, "config", "params", "vectors")
  local distance = common.at(vectors, "distance")
  return {
    model = common.at(info, "config", "metadata", "model"),
    dimension = common.integer(common.at(vectors, "size")),
    distance = type(distance) == "string" and distance:lower() or nil,
  }
end

local DISTANCES = { cosine = "Cosine", dot = "Dot", euclid = "Euclid", manhattan = "Manhattan" }

function Qdrant:make(ask, name, info)
  return done(ask("put", self:url(nil, name), { cjson.encode {
    vectors = { size = info.dimension, distance = DISTANCES[info.distance] }, metadata = { model = info.model },
  } }))
end

function Qdrant:names(ask)
  local names = { collections = {}, aliases = {} }
  local collections, failure = result(ask("list", self.base .. "/collections"), "table")
  if not collections then return nil, failure end
  for _, each in ipairs(common.at(collections, "collections") or {}) do names.collections[each.name] = true end
  local list
  list, failure = result(ask("list", self.base .. "/aliases"), "table")
  if not list then return nil, failure end
  for _, each in ipairs(common.at(list, "aliases") or {}) do names.aliases[each.alias_name] = each.collection_name end
  return names
end

function Qdrant:switch(ask, moves)
  local actions = {}
  for _, move in ipairs(moves) do
    if move.from then actions[#actions + 1] = { delete_alias = { alias_name = move.alias } } end
    if move.to then actions[#actions + 1] = { create_alias = { alias_name = move.alias, collection_name = move.to } } end
  end
  return done(ask("post", self.base .. "/collections/aliases", { cjson.encode { actions = actions } }))
end

function Qdrant:remove(ask, name)
  local gone, failure = result(ask("delete", self:url(nil, name)), "boolean")
  -- false: it was gone already.
  if gone == nil then return nil, failure end
  return true
end

function Qdrant:find(ask, ids)
  local ids_of = {}
  for i, id in ipairs(ids) do ids_of[common.uuid(id)] = ids[i] end
  local points, failure = result(ask("post", self:url("/points"), {
    '{"ids":' .. common.quote_all(ids, common.uuid) .. ',"with_payload":false,"with_vector":false}',
  }), "table")
  if not points then return nil, failure end
  local found = {}
  for _, point in ipairs(points) do
    local id = ids_of[point.id]
    if id then found[id] = true end
  end
  return found
end

function Qdrant:put(ask, records)
  local body = { '{"points":[' }
  for i, record in ipairs(records) do
    body[#body + 1] = ('%s{"id":"%s","payload":{%s},"vector":'):format(i > 1 and "," or "", common.uuid(record.id), common.payload(record))
    body[#body + 1] = record.vector
    body[#body + 1] = "}"
  end
  body[#body + 1] = "]}"
  local event = ask("put", self:url("/points?wait=true"), body)
  local update, failure = result(event, "table")
  if not update then return nil, failure end
  if update.status ~= "completed" then
    return nil, common.failure(event, "not stored yet, though waited for: " .. tostring(update.status), "backend_error")
  end
  return {}
end

function Qdrant:count(ask)
  local event = ask("post", self:url("/points/count"), { '{"exact":true}' })
  local answer, failure = result(event, "table")
  if not answer then return nil, failure end
  local count = common.integer(answer.count)
  if not count then return nil, common.failure(event, "an answer without a count") end
  return count
end

function Qdrant:search(ask, vector, top)
  local answer, failure = result(ask("post", self:url("/points/query"), {
    '{"query":', vector, (',"limit":%d,"with_payload":["id","path"]}'):format(top),
  }), "table")
  if not answer then return nil, failure end
  local hits = {}
  for i, point in ipairs(common.at(answer, "points") or {}) do
    local payload = common.at(point, "payload")
    hits[i] = { id = common.at(payload, "id") or tostring(point.id), path = common.at(payload, "path"), score = point.score }
  end
  return hits
end

return { new = new }
