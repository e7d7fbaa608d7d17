-- What travels on the wire: targets decoded as the real service decodes them, JSON strings as it writes them, and answers.

local M = {}

-- One run of valid UTF-8, or else a single byte that is none.
local UTF8_RUN = [==[((?:[\x00-\x7F]|[\xC2-\xDF][\x80-\xBF]|\xE0[\xA0-\xBF][\x80-\xBF]|[\xE1-\xEC\xEE\xEF][\x80-\xBF]{2}]==]
  .. [==[|\xED[\x80-\x9F][\x80-\xBF]|\xF0[\x90-\xBF][\x80-\xBF]{2}|[\xF1-\xF3][\x80-\xBF]{3}|\xF4[\x80-\x8F][\x80-\xBF]{2})+)|.]==]
local REPLACEMENT = "\239\191\189"

--- Percent-decode as Python's `unquote` does: bytes that are not UTF-8 become U+FFFD, so such an id names no file.
function M.decode(text)
  text = text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  if not text:find("[\128-\255]") then return text end
  return (ngx.re.gsub(text, UTF8_RUN, function(match) return match[1] or REPLACEMENT end, "jos"))
end

--- Split a raw request target into its decoded path and a table from each query name to the list of its values.
-- NB: the raw target, because nginx's own `$uri` has already resolved `..` and `%2F`, which may be parts of an id.
function M.parse_target(target)
  local path, tail = target:match("^([^?]*)%??(.*)$")
  local query = {}
  for pair in tail:gmatch("[^&]+") do
    local name, value = pair:gsub("+", " "):match("^([^=]*)=?(.*)$")
    name = M.decode(name)
    query[name] = query[name] or {}
    table.insert(query[name], M.decode(value))
  end
  return M.decode(path), query
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

--- A JSON string. Not cjson's, which writes `\/` for every slash: the real service does not.
function M.quote(text)
  return '"' .. text:gsub('[%c"\\]', function(char)
    return ESCAPES[char] or (char ~= "\127" and ("\\u%04x"):format(char:byte())) or nil
  end) .. '"'
end

--- Body of an error, as FastAPI words it.
function M.detail(text)
  return '{"detail":' .. M.quote(text) .. "}"
end

--- Body of a 422. `problems` is a list of { type, parameter, message, input or nil }.
function M.invalid(problems)
  local items = {}
  for i, problem in ipairs(problems) do
    local kind, parameter, message, input = unpack(problem, 1, 4)
    items[i] = ('{"type":%s,"loc":["query",%s],"msg":%s,"input":%s}'):format(
      M.quote(kind), M.quote(parameter), M.quote(message), input and M.quote(input) or "null")
  end
  return '{"detail":[' .. table.concat(items, ",") .. "]}"
end

--- Send an answer. `body` is a string, or a list of strings that is never joined: a vector has 50 KB.
function M.send(status, body)
  local length = #body
  if type(body) == "table" then
    length = 0
    for i = 1, #body do length = length + #body[i] end
  end
  ngx.status = status
  ngx.header["Content-Length"] = length
  ngx.print(body)
end

return M
