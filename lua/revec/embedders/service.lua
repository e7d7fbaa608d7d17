--- What embedders of services share: requests with images in them, and what becomes of answers. Nothing here blocks.
-- An image's bytes never come here: the core puts them between the texts of a body while it sends them.

local cjson = require "cjson.safe"
local core = require "revec.core"
local options = require "revec.options"
local common = require "revec.adapters.common"

local M = {}

--- Headers of a request whose body is JSON.
M.json = common.json

-- Most bytes of files in one request of several images, for services that name no limit: what is lost when it has to be sent again.
local MAX_BYTES = 20 * 10 ^ 6
-- For the cap of an answer: a number with a line of its own, the numbers of a vector, and whatever else is said.
local NUMBER_BYTES = 32
local DIMENSION = 8192
local OTHER_BYTES = 2 ^ 16

local types = { jpg = "jpeg", jpe = "jpeg", tif = "tiff" } -- the others are named as their extensions

--- An image's media type, by its extension. Without one it is taken for a JPEG: decoders look at the bytes anyway.
function M.media_type(image)
  local extension = (image.extension or ""):lower()
  if not extension:find("^%w+$") then extension = "jpg" end
  return "image/" .. (types[extension] or extension)
end

-- ---- what is sent ----

-- A function images → parts of a body: an object of these fields and, as its last one, the images.
local function bodies(service, fields)
  local head, why = cjson.encode(fields)
  if not head then return nil, "fields: " .. why end
  head = head:sub(1, -2) .. "," .. service.list[1] -- the model is always one of them
  local before, after, tail = service.item[1], service.item[2], service.list[2] .. "}"
  return function(images)
    local body = { head }
    for i, image in ipairs(images) do
      local start = (i > 1 and "," or "") .. before
      if not service.bare then start = start .. "data:" .. M.media_type(image) .. ";base64," end
      body[#body + 1] = start
      body[#body + 1] = { file = image.path, base64 = true }
      body[#body + 1] = after
    end
    body[#body + 1] = tail
    return body
  end
end

-- ---- what is answered ----

-- The code belongs to the message, where a service has both; and an error says more than that there is no vector.
local function failure(event)
  if event.location then return common.failure(event) end
  local answer = common.decode(event)
  local code, message = common.at(answer, "code"), common.at(answer, "message")
  if type(code) == "string" and type(message) == "string" then return common.failure(event, code .. ": " .. message) end
  local told = message or common.at(answer, "error") or common.at(answer, "detail")
  return common.failure(event, told and common.reason { body = event.body } or nil)
end

local function embed(self, ask, images)
  local event = ask("embed", self.url, self.body(images))
  if event.kind then return nil, failure(event) end
  if #event.vectors ~= #images then
    return nil, common.failure(event, ("%d vectors for %d images"):format(#event.vectors, #images))
  end
  return event.vectors, event.vector_error
end

-- ---- adapters ----

local function is_count(value, most)
  return type(value) == "number" and value >= 1 and value <= most and value % 1 == 0
end

-- What of the settings is wrong; nil: nothing.
local function wrong(settings, service)
  local most = service.most or 1000
  if type(settings.url) ~= "string" or not settings.url:find("^https?://[^/?]") then
    return "url: where the service answers expected, as in " .. service.kind .. "+http://localhost:8000#MODEL"
  elseif type(settings.model) ~= "string" or settings.model == "" then
    return "model: the model's name expected, as in " .. service.kind .. "+http://localhost:8000#MODEL"
  elseif settings.dimension ~= nil and not is_count(settings.dimension, 65536) then
    return "dimension: integer 1..65536 expected, got " .. core.clean(tostring(settings.dimension))
  elseif settings.per_request ~= nil and not is_count(settings.per_request, most) then
    return ("per_request: integer 1..%d expected, got %s"):format(most, core.clean(tostring(settings.per_request)))
  elseif settings.max_bytes ~= nil and not is_count(settings.max_bytes, 2 ^ 53) then
    return "max_bytes: a number of bytes expected, got " .. core.clean(tostring(settings.max_bytes))
  elseif settings.fields ~= nil and type(settings.fields) ~= "table" then
    return "fields: a table expected, got " .. type(settings.fields)
  end
end

--- An embedder that asks a service.
-- @param settings url, model, token, headers, and what a user's table may have: dimension, per_request, max_bytes, fields
--   (further ones of the request, or others instead of ours)
-- @param service kind; endpoint (path behind the URL; nil: the URL is the endpoint); vectors, vector_index, throttle, denied (as
--   engine:route has them); per_request (where the settings have none: 1), most (images in one request: 1000), max_bytes
--   (likewise); and what is sent: fields, list and item (pairs of texts, JSON: what stands before and after all images, and
--   each), bare (base64 without the beginning of a data URI) - or body (function images -> parts) and headers
-- @return adapter; or nil and one line
function M.adapter(settings, service)
  local why = wrong(settings, service)
  if why then return nil, why end
  local body = service.body
  if not body then
    local fields = {}
    for _, each in ipairs { service.fields, settings.fields or {} } do
      for key, value in pairs(each) do fields[key] = value end
    end
    body, why = bodies(service, fields)
    if not body then return nil, why end
  end
  local base, query = settings.url:match("^([^?]*)(.*)$")
  if service.endpoint then base = common.base(base) .. service.endpoint end
  local url = base .. query
  local per_request = settings.per_request or service.per_request or 1
  return {
    kind = service.kind, where = options.redact(base), model = settings.model, dimension = settings.dimension,
    per_request = per_request, max_bytes = settings.max_bytes or service.max_bytes or MAX_BYTES,
    -- Whatever it says to a GET, it is there.
    probe_url = url, url = url, headers = common.headers(settings), body = body, embed = embed,
    routes = { embed = {
      method = "POST", headers = service.headers or M.json, json = true, vectors = service.vectors, vector_index = service.vector_index,
      throttle = service.throttle, denied = service.denied,
      max_bytes = per_request * NUMBER_BYTES * (settings.dimension or DIMENSION) + OTHER_BYTES,
    } },
  }
end

return M
