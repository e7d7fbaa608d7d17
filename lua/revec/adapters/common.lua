--- What adapters of several services share: requests' texts, and what is read of answers. Nothing here blocks or asks.

local cjson = require "cjson.safe"
local core = require "revec.core"
local options = require "revec.options"

local M = {}

--- Headers of a request whose body is JSON.
M.json = { "Content-Type: application/json" }

--- Most bytes of an answer that is decoded as a whole: many ids, or hits of a search.
M.MAX_ANSWER = 16 * 2 ^ 20

--- The URL without slashes at its end, so that paths can be put behind it.
function M.base(url)
  return (url:gsub("/+$", ""))
end

--- Why the settings of an index that is a service are of no use, in one line, or nil.
function M.check_service(settings)
  if type(settings.url) ~= "string" or not settings.url:find("^https?://[^/]") then
    return "url: a URL that begins with http:// or https:// expected"
  elseif type(settings.collection) ~= "string" or settings.collection == "" then
    return "collection: a name expected"
  end
end

--- Headers of every request: those of the settings, and the token's.
-- @param settings headers (array of "Name: value", or nil), token (string or nil)
-- @param prefix what stands before the token, "Authorization: Bearer " when nil
-- @return array of "Name: value"
function M.headers(settings, prefix)
  local headers = {}
  for i, header in ipairs(settings.headers or {}) do headers[i] = header end
  if settings.token then headers[#headers + 1] = (prefix or "Authorization: Bearer ") .. settings.token end
  return headers
end

-- ---- what is sent ----

--- A text as JSON; bytes that are not UTF-8 become U+FFFD.
function M.quote(text)
  return (cjson.encode(core.clean(text, true)):gsub("\\/", "/"))
end

--- Texts as a JSON array.
-- @param texts array
-- @param map what is made of each before (function, or nil)
function M.quote_all(texts, map)
  local list = {}
  for i, text in ipairs(texts) do list[i] = M.quote(map and map(text) or text) end
  return "[" .. table.concat(list, ",") .. "]"
end

--- What is stored beside a record's vector, as JSON without the braces around it: id, path, tags (array), mtime, size.
function M.payload(record)
  local tags = {}
  for tag in (record.tags or ""):gmatch("[^,]+") do tags[#tags + 1] = tag end
  return ('"id":%s,"path":%s,"tags":%s,"mtime":%s,"size":%s'):format(M.quote(record.id), M.quote(record.path),
    M.quote_all(tags), cjson.encode(record.mtime or cjson.null), cjson.encode(record.size or cjson.null))
end

-- ---- ids ----

local HEX = "%x%x%x%x"
--- Pattern of a UUID in its usual form, in either case.
M.UUID = "^" .. HEX:rep(2) .. ("%-" .. HEX):rep(3) .. "%-" .. HEX:rep(3) .. "$"

--- The namespace of ids that are mapped to UUIDs. It never changes: an index that exists would not be found again.
M.NAMESPACE = "5f1f3a52-7f0c-4c8e-9d0f-6b3e2a8c41d7"

--- The UUID of an id, for databases that take no other ids: itself when it is one in lower case with hyphens, else the
-- version 5 UUID of its bytes. Different ids have different ones.
function M.uuid(id)
  if #id == 36 and id:find(M.UUID) and id == id:lower() then return id end
  return require "revec.digest".uuid5(M.NAMESPACE, id) -- not above: what maps no ids does not need it
end

--- Why an id cannot be carried in JSON, is empty or too long, or nil.
-- @param most bytes; nil: any length
function M.check_id(id, most)
  if id == "" then return "id is empty" end
  if most and #id > most then return ("id is %d bytes long: at most %d"):format(#id, most) end
  if not core.is_utf8(id) then return "id is not UTF-8, which is all that this index takes" end
end

-- ---- what is answered ----

--- What stands in a decoded answer under these keys, one below the other; nil when it is not there, or null.
function M.at(value, ...)
  for _, key in ipairs { ... } do
    if type(value) ~= "table" then return nil end
    value = value[key]
  end
  if value ~= cjson.null then return value end
end

--- A whole number of a decoded answer, which may come as a text; nil when it is none. (cjson's are floats under 5.4.)
function M.integer(value)
  local number = tonumber(value)
  return number and number % 1 == 0 and math.floor(number) or nil
end

--- A good answer of a route with `whole`: the decoded object or array, or nil.
function M.decode(event)
  local answer = event.body and cjson.decode(event.body)
  return type(answer) == "table" and answer or nil
end

-- The text of what services put where the reason is expected: a text, an object with one, or a list of objects (FastAPI).
local function text_of(value)
  if type(value) ~= "table" then return type(value) == "string" and value ~= "" and value or nil end
  local inner = value.message or value.reason or value.msg
  if type(inner) == "string" then return inner end
  local texts = {}
  for i, item in ipairs(value) do texts[i] = text_of(item) or cjson.encode(item) end
  return #texts > 0 and table.concat(texts, "; ") or cjson.encode(value)
end

--- One line that says why a request failed.
-- @param event the engine's event
function M.reason(event)
  local body = event.body or ""
  if event.message then return event.message end
  if event.location then
    -- A query may hold a token, or what was asked.
    local where = options.redact((event.location:gsub("[?#].*$", "?…")))
    return ("a redirect (%d) to %s, which is not followed"):format(event.status, (core.fit(core.clean(where), 200)))
  end
  if event.kind == "too_large" then return "the answer is larger than allowed" end
  if body:find("^%s*<") then
    local title = body:match("<title>%s*(.-)%s*</title>") or ""
    return "an HTML page instead of an answer" .. (title ~= "" and ": " .. (core.fit(core.clean(title), 200)) or "")
  end
  local fields = event.fields or {}
  local answer = fields.message and fields or cjson.decode(body)
  local function told(...) return text_of(M.at(answer, ...)) end
  local text = told("detail") or told("message") or told("status", "error") or told("error")
  if text then return text end
  if event.kind == "cut_short" then return "the answer broke off" end
  if body:find("%S") then return core.clean(body:sub(1, 200)) end
  return (event.kind or "bad_answer") == "bad_answer" and "an empty answer" or event.kind:gsub("_", " ")
end

--- A failure made of an event.
-- @param event the engine's; one without a kind is a good answer that is of no use: "bad_answer", or the kind given
-- @param reason one line; nil: what the answer says
-- @return { kind, message, status, attempts, sends }
function M.failure(event, reason, kind)
  return { kind = event.kind or kind or "bad_answer", message = core.clean(reason or M.reason(event)), status = event.status,
           attempts = event.attempts, sends = event.sends }
end

--- A failure without an event: what was asked for cannot be done, and nothing was sent.
-- @param message one line
function M.refusal(message)
  return { kind = "rejected", message = message, attempts = 0, sends = 0 }
end

return M
