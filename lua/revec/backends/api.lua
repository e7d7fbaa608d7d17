--- The image-search backend that the guide describes (doc/backend_api.md): requests and answers, nothing else.
--
-- No call blocks. Embedding again an id that is indexed overwrites its vector, so all requests may be repeated.
-- The backend reads the images from its own storage by id: no file is opened here.

local common = require "revec.adapters.common"
local core = require "revec.core"

local Api = {}
Api.__index = Api

-- A failure of the service behind the backend comes as a 500 or a 200 whose message names it.
local throttle = { "Throttling" }
local denied = { "Arrearage", "InvalidApiKey" }

-- Answers of many ids: without vectors 300 bytes each, with them 50 KB and more.
local BULK_BYTES = 16 * 2 ^ 20

--- @param options api_url, tags
local function new(options)
  local base = options.api_url:gsub("/+$", "")
  return setmetatable({
    base = base,
    --- Asked while the backend is gone: any HTTP answer means that it is back.
    probe_url = base .. "/health",
    --- What the engine has to know of each kind of request (engine:route in doc/core.md).
    routes = {
      lookup = { method = "GET", fields = { "status" }, status_field = true, accept = { 404 }, max_bytes = 2 ^ 20,
                 throttle = throttle, denied = denied },
      -- Not tried again: the images of a group that fails are asked one by one.
      lookup_many = { method = "GET", fields = { "status" }, status_field = true, list = "data", list_field = "id",
                      max_bytes = BULK_BYTES, max_retries = 0, throttle = throttle, denied = denied },
      list = { method = "GET", fields = { "status" }, status_field = true, list = "data", list_field = "id",
               max_bytes = BULK_BYTES, throttle = throttle, denied = denied },
      embed = { method = "POST", headers = { "Content-Type: application/json" }, fields = { "status", "message" },
                status_field = true, max_bytes = 2 ^ 20, throttle = throttle, denied = denied },
    },
    tags = options.tags and "&tags=" .. core.escape(options.tags) or "",
  }, Api)
end

--- Whether the image is indexed.
function Api:lookup_url(image)
  return self.base .. "/api/v1/vectors/" .. core.escape(image.id)
end

--- Which of several images are indexed: those whose ids the answer's list has.
-- @param ids array of ids, escaped already
function Api:lookup_many_url(ids)
  return self.base .. "/api/v1/vectors/batch/get?ids=" .. table.concat(ids, "&ids=")
end

--- A page of all ids that are indexed, in their order.
-- @param limit records on a page (at most 1000); a shorter one is the last
-- @param last the last id of the page before, with which this one begins; nil: the first page
function Api:list_url(limit, last)
  return self.base .. string.format("/api/v1/vectors/?limit=%d", limit) .. (last and "&offset=" .. core.escape(last) or "")
end

local HEX = "%x%x%x%x"
local BARE_UUID = "^(" .. HEX:rep(2) .. ")(" .. HEX .. ")(" .. HEX .. ")(" .. HEX .. ")(" .. HEX:rep(3) .. ")$"

--- An id as the index behind the backend (Qdrant) tells it: a UUID in lower case with hyphens, or a whole number.
-- @return string; or nil for an id that it may not take, which then spoils a whole look-up of many
function Api.bulk_id(id)
  if #id == 36 and id:find(common.UUID) then return id:lower() end
  if id:find("^[1-9]%d*$") or id == "0" then return id end
  local inner = id:match("^{(.*)}$") or id:match("^urn:uuid:(.*)$") or id
  if inner ~= id and inner:find(common.UUID) then return inner:lower() end
  local a, b, c, d, e = inner:match(BARE_UUID)
  return a and table.concat({ a, b, c, d, e }, "-"):lower()
end

--- @return true when the look-up's answer says that the image is indexed
function Api.is_indexed(answer)
  return answer.status ~= 404
end

--- Have the image embedded and indexed. tags: a string, or nil for the options' own.
function Api:embed_url(image, tags)
  return self.base .. "/api/v1/embedding/image?image_id=" .. core.escape(image.id) .. "&normalize=true&auto_index=true"
    .. (tags and "&tags=" .. core.escape(tags) or self.tags)
end

--- Whether a 404 says that the route, not the image, does not exist: FastAPI's own words for it.
function Api.is_lost(event)
  return event.status == 404 and event.body == '{"detail":"Not Found"}'
end

--- One line that says why a request failed, from the engine's event.
Api.reason = common.reason

return { new = new }
