--- Chroma, by its REST API, version 2.
--
-- An upsert is repeatable, and what it stored is found by the next request. One wrong record fails the whole call. Ids are texts and
-- stand for themselves. Every request but the first needs the collection's UUID, which is asked for once and kept.

local cjson = require "cjson.safe"
local core = require "revec.core"
local common = require "revec.adapters.common"
local options = require "revec.options"


local Chroma = {
  kind = "chroma",
  -- What its cloud takes at most; a server of one's own takes more.
  max_records = 300,
  -- Its own limit is 40 MB.
  max_bytes = 32 * 2 ^ 20,
  swaps = false,
  no_swap = "chroma has no alias that could be switched: rebuild into a collection of another name, or --recreate without --swap",
}
Chroma.__index = Chroma

--- @param settings url, collection, token, headers; tenant, database: those of the name default_tenant, default_database when nil
local function new(settings)
  local why = common.check_service(settings)
  if why then return nil, why end
  local name = settings.collection
  if #name < 3 or #name > 512 or not name:find("^%w[%w._-]*%w$") then
    return nil, core.clean(name) .. ": chroma's collections have names of 3 to 512 letters, digits, '.', '_' and '-', the first and the "
      .. "last a letter or digit"
  end
  local base = common.base(settings.url)
  return setmetatable({
    where = options.redact(base) .. "/" .. name,
    probe_url = base .. "/api/v2/heartbeat",
    headers = common.headers(settings, "x-chroma-token: "),
    routes = {
      collection = { json = true, whole = true, accept = { 404 } },
      count = { whole = true },
      create = { method = "POST", headers = common.json, json = true, whole = true },
      post = { method = "POST", headers = common.json, json = true, whole = true, max_bytes = common.MAX_ANSWER },
      delete = { method = "DELETE", json = true, whole = true, accept = { 404 } },
    },
    name = name,
    collections = ("%s/api/v2/tenants/%s/databases/%s/collections"):format(base, core.escape(settings.tenant or "default_tenant"),
      core.escape(settings.database or "default_database")),
  }, Chroma)
end

function Chroma.check_id(_, id)
  return common.check_id(id)
end

-- The collection as Chroma tells it; nil when there is none; nil and a failure.
function Chroma:collection(ask)
  local event = ask("collection", self.collections .. "/" .. core.escape(self.name))
  local answer = common.decode(event)
  if event.kind then return nil, common.failure(event) end
  -- Another service, or a wrong path, has no such error.
  if event.status == 404 then
    return nil, common.at(answer, "error") ~= "NotFoundError" and common.failure(event, nil, "not_found") or nil
  end
  if type(common.at(answer, "id")) ~= "string" then return nil, common.failure(event, "a collection without an id") end
  self.id = answer.id
  return answer
end

function Chroma:info(ask)
  local answer, failure = self:collection(ask)
  if not answer then return nil, failure end
  local configuration, metadata = common.at(answer, "configuration_json"), common.at(answer, "metadata")
  return {
    model = common.at(metadata, "model"),
    -- Chroma itself knows it only from the first record on.
    dimension = common.at(answer, "dimension") or common.at(metadata, "dimension"),
    distance = common.at(configuration, "hnsw", "space") or common.at(configuration, "spann", "space"),
  }
end

function Chroma:create(ask, info)
  local event = ask("create", self.collections, { cjson.encode {
    name = self.name, get_or_create = false, metadata = { model = info.model, dimension = info.dimension },
    configuration = { hnsw = { space = info.distance } },
  } })
  if event.kind then return nil, common.failure(event) end
  local id = common.at(common.decode(event), "id")
  if type(id) ~= "string" then return nil, common.failure(event, "a collection without an id") end
  self.id = id
  return true
end

-- Asks a route of the collection's own; the event, or nil and a failure.
function Chroma:ask(ask, route, path, body)
  if not self.id then
    local there, failure = self:collection(ask)
    if not there then return nil, failure or common.failure({ attempts = 1 }, self.where .. ": no such collection", "not_found") end
  end
  local event = ask(route, self.collections .. "/" .. self.id .. path, body)
  if not event.kind then return event end
  -- It may have been made anew, with another id.
  if event.kind == "not_found" then self.id = nil end
  return nil, common.failure(event)
end

-- An array of the answer's, below these keys; or nil and a failure.
local function array(event, ...)
  local value = common.at(common.decode(event), ...)
  if type(value) == "table" then return value end
  return nil, common.failure(event, "an answer without " .. (...))
end

function Chroma:find(ask, ids)
  local event, failure = self:ask(ask, "post", "/get", { '{"ids":' .. common.quote_all(ids) .. ',"include":[]}' })
  if not event then return nil, failure end
  local there
  there, failure = array(event, "ids")
  if not there then return nil, failure end
  local found = {}
  for _, id in ipairs(there) do found[id] = true end
  return found
end

-- Its metadata take no arrays here: the tags stay as they were given.
local function metadata(record)
  return ('{"path":%s,"tags":%s,"mtime":%s,"size":%s}'):format(common.quote(record.path),
    record.tags and common.quote(record.tags) or "null", cjson.encode(record.mtime or cjson.null), cjson.encode(record.size or cjson.null))
end

function Chroma:put(ask, records)
  local ids, metadatas = {}, {}
  for i, record in ipairs(records) do ids[i], metadatas[i] = record.id, metadata(record) end
  local body = { '{"ids":' .. common.quote_all(ids) .. ',"metadatas":[' .. table.concat(metadatas, ",") .. '],"embeddings":[' }
  for i, record in ipairs(records) do
    if i > 1 then body[#body + 1] = "," end
    body[#body + 1] = record.vector
  end
  body[#body + 1] = "]}"
  local event, failure = self:ask(ask, "post", "/upsert", body)
  if not event then return nil, failure end
  return {}
end

function Chroma:count(ask)
  local event, failure = self:ask(ask, "count", "/count")
  if not event then return nil, failure end
  local count = tonumber(event.body)
  if not count then return nil, common.failure(event, "an answer that is no count") end
  return count
end

function Chroma:search(ask, vector, top)
  local event, failure = self:ask(ask, "post", "/query",
    { '{"query_embeddings":[', vector, ('],"n_results":%d,"include":["metadatas","distances"]}'):format(top) })
  if not event then return nil, failure end
  local ids
  ids, failure = array(event, "ids", 1)
  if not ids then return nil, failure end
  local answer, hits = common.decode(event), {}
  for i, id in ipairs(ids) do
    local distance = common.at(answer, "distances", 1, i)
    if not distance then return nil, common.failure(event, "an answer without distances") end
    hits[i] = { id = id, path = common.at(answer, "metadatas", 1, i, "path"), score = 1 - distance }
  end
  return hits
end

function Chroma:drop(ask)
  local event = ask("delete", self.collections .. "/" .. core.escape(self.name))
  if event.kind then return nil, common.failure(event) end
  self.id = nil
  return true
end

return { new = new }
