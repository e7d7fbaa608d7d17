--- Elasticsearch (8 and later) and OpenSearch, by their REST APIs: one adapter, as they differ in the mapping, the search and the token.
--
-- Records go by _bulk, which is repeatable and answers for each of them in a 200. Looking up by id sees them at once; count and search
-- have the index refreshed first. The model is kept in the mapping's _meta.

local cjson = require "cjson.safe"
local core = require "revec.core"
local aliases = require "revec.adapters.aliases"
local common = require "revec.adapters.common"
local options = require "revec.options"

local Index = {
  max_records = 1000,
  -- 5 to 15 MB are what both advise.
  max_bytes = 10 * 2 ^ 20,
}
Index.__index = Index
aliases.extend(Index)

local ID_BYTES = 512
-- How often the records of one _bulk that a full queue turned away (429) are sent again. A _bulk that is refused as a whole is
-- another matter: the engine waits for that.
local RESENDS = 3

local FLAVOURS = {
  elasticsearch = {
    token = "Authorization: ApiKey ",
    vector = function(info) return { type = "dense_vector", dims = info.dimension, index = true, similarity = info.distance } end,
    read = function(field) return field.dims, field.similarity end,
    query = function(vector, top)
      return { '{"knn":{"field":"vector","query_vector":', vector, (',"k":%d,"num_candidates":%d}'):format(top, math.max(top, 100)) }
    end,
  },
  opensearch = {
    token = "Authorization: Bearer ",
    settings = { index = { knn = true } },
    vector = function(info)
      local space = info.distance == "cosine" and "cosinesimil" or info.distance
      return { type = "knn_vector", dimension = info.dimension, method = { name = "hnsw", engine = "lucene", space_type = space } }
    end,
    read = function(field)
      local space = common.at(field, "method", "space_type") or field.space_type
      return field.dimension, space == "cosinesimil" and "cosine" or space
    end,
    query = function(vector, top)
      return { '{"query":{"knn":{"vector":{"vector":', vector, (',"k":%d}}}'):format(top) }
    end,
  },
}

--- @param settings kind ("elasticsearch" or "opensearch"), url, collection, token, headers
-- @return adapter; or nil and one line
local function new(settings)
  local why = common.check_service(settings)
  if why then return nil, why end
  local base, flavour = common.base(settings.url), FLAVOURS[settings.kind]
  local MAX = common.MAX_ANSWER
  return setmetatable({
    kind = settings.kind,
    flavour = flavour,
    base = base,
    collection = settings.collection,
    target = settings.collection,
    where = options.redact(base) .. "/" .. settings.collection,
    probe_url = base .. "/",
    headers = common.headers(settings, flavour.token),
    routes = {
      get = { json = true, whole = true, accept = { 404 }, max_bytes = MAX },
      post = { method = "POST", headers = common.json, json = true, whole = true, max_bytes = MAX },
      put = { method = "PUT", headers = common.json, json = true, whole = true },
      delete = { method = "DELETE", json = true, whole = true, accept = { 404 } },
      bulk = { method = "POST", headers = { "Content-Type: application/x-ndjson" }, json = true, whole = true, max_bytes = MAX },
    },
  }, Index)
end

function Index.check_id(_, id)
  return common.check_id(id, ID_BYTES)
end

function Index:url(tail, name)
  return self.base .. "/" .. core.escape(name or self.target) .. (tail or "")
end

-- A good answer, decoded; or nil and a failure.
local function answer_of(event)
  if event.kind then return nil, common.failure(event) end
  if event.status == 404 then return nil, common.failure(event, nil, "not_found") end
  return common.decode(event)
end

local function acknowledged(event)
  local answer, failure = answer_of(event)
  if not answer then return nil, failure end
  if answer.acknowledged == true then return true end
  return nil, common.failure(event, "not acknowledged by all nodes in time", "backend_error")
end

-- Of a 404: whether it says that there is no such index, and is not another service's.
local function no_such_index(event)
  return not event.kind and event.status == 404 and common.at(common.decode(event), "error", "type") == "index_not_found_exception"
end

function Index:info(ask)
  local event = ask("get", self:url("/_mapping"))
  if no_such_index(event) then return nil, nil end
  local answer, failure = answer_of(event)
  if not answer then return nil, failure end
  local name, about = next(answer)
  if not name or next(answer, name) then return nil, common.failure(event, self.target .. " is not one index") end
  self.is_plain = name == self.target
  local field = common.at(about, "mappings", "properties", "vector")
  local dimension, distance
  if type(field) == "table" then dimension, distance = self.flavour.read(field) end
  return { model = common.at(about, "mappings", "_meta", "model"), dimension = common.integer(dimension), distance = distance }
end

function Index:make(ask, name, info)
  return acknowledged(ask("put", self:url(nil, name), { cjson.encode {
    settings = self.flavour.settings,
    mappings = {
      _meta = { model = info.model },
      dynamic = false,
      properties = { vector = self.flavour.vector(info), tags = { type = "keyword", ignore_above = 8191 }, mtime = { type = "double" },
                     size = { type = "long" } },
    },
  } }))
end

function Index:names(ask)
  local names = { collections = {}, aliases = {} }
  local event = ask("get", self:url("*/_alias", self.collection))
  if no_such_index(event) then return names end
  local answer, failure = answer_of(event)
  if not answer then return nil, failure end
  for name, about in pairs(answer) do
    names.collections[name] = true
    for alias in pairs(common.at(about, "aliases") or {}) do names.aliases[alias] = name end
  end
  return names
end

function Index:switch(ask, moves)
  local actions = {}
  for _, move in ipairs(moves) do
    if move.from then actions[#actions + 1] = { remove = { index = move.from, alias = move.alias } } end
    if move.to then actions[#actions + 1] = { add = { index = move.to, alias = move.alias } } end
  end
  return acknowledged(ask("post", self.base .. "/_aliases", { cjson.encode { actions = actions } }))
end

function Index:remove(ask, name)
  local event = ask("delete", self:url(nil, name))
  return no_such_index(event) or acknowledged(event)
end

-- A failure of one record or id, which stands inside an answer that is good as a whole.
local function item_failure(event, status, why)
  local kind = status == 429 and "overloaded" or status == 404 and "not_found" or status < 500 and "rejected" or "backend_error"
  local failure = common.failure(event, common.reason { body = cjson.encode { error = why }, kind = kind }, kind)
  failure.status = status
  return failure
end

function Index:find(ask, ids)
  local event = ask("post", self:url("/_mget?_source=false"), { '{"ids":' .. common.quote_all(ids) .. "}" })
  local answer, failure = answer_of(event)
  if not answer then return nil, failure end
  local found = {}
  for _, doc in ipairs(common.at(answer, "docs") or {}) do
    if doc.error then return nil, item_failure(event, doc.error.type == "index_not_found_exception" and 404 or 500, doc.error) end
    if doc.found then found[doc._id] = true end
  end
  return found
end

-- Lines end with a newline, so a vector must have none. It is asked for one only here, where its text is a copy of 50 KB.
local function on_one_line(vector)
  local text = vector:json()
  return text:find("[\r\n]") and text:gsub("[\r\n]", " ") or text
end

function Index:send(ask, records, which)
  local body = {}
  for _, i in ipairs(which) do
    local record = records[i]
    body[#body + 1] = ('{"index":{"_id":%s}}\n{%s,"vector":'):format(common.quote(record.id), common.payload(record))
    body[#body + 1] = on_one_line(record.vector)
    body[#body + 1] = "}\n"
  end
  -- An index that is gone would be made anew by what is put into it, without a mapping.
  return ask("bulk", self:url("/_bulk" .. (self.is_plain and "" or "?require_alias=true")), body)
end

function Index:put(ask, records)
  local bad, which = {}, {}
  for i in ipairs(records) do which[i] = i end
  for resend = 0, RESENDS do
    local event = self:send(ask, records, which)
    local answer, failure = answer_of(event)
    if not answer then return nil, failure end
    local items = common.at(answer, "items") or {}
    if #items ~= #which then
      return nil, common.failure(event, ("an answer for %d records, where %d were sent"):format(#items, #which))
    end
    local again = {}
    for n, item in ipairs(items) do
      local about = common.at(item, "index") or {}
      local status = common.integer(about.status) or 500
      if status == 429 and resend < RESENDS then
        again[#again + 1] = which[n]
      elseif status >= 300 then
        bad[which[n]] = item_failure(event, status, about.error)
      end
    end
    if #again == 0 then return bad end
    which = again
  end
end

-- What was put is counted and searched from here on.
function Index:refresh(ask)
  return answer_of(ask("post", self:url("/_refresh")))
end

function Index:count(ask)
  local ok, failure = self:refresh(ask)
  if not ok then return nil, failure end
  local event = ask("get", self:url("/_count"))
  local answer
  answer, failure = answer_of(event)
  if not answer then return nil, failure end
  local count = common.integer(answer.count)
  if not count then return nil, common.failure(event, "an answer without a count") end
  return count
end

function Index:search(ask, vector, top)
  local ok, failure = self:refresh(ask)
  if not ok then return nil, failure end
  local body = self.flavour.query(vector, top)
  body[#body + 1] = (',"size":%d,"_source":["path"]}'):format(top)
  local answer
  answer, failure = answer_of(ask("post", self:url("/_search"), body))
  if not answer then return nil, failure end
  local hits = {}
  -- Both score cosines from 0 to 1.
  for i, hit in ipairs(common.at(answer, "hits", "hits") or {}) do
    hits[i] = { id = hit._id, path = common.at(hit, "_source", "path"), score = 2 * hit._score - 1 }
  end
  return hits
end

return { new = new }
