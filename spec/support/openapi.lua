-- Holds requests and answers against an OpenAPI 3.0 file, more strictly than the standard asks: fields that the schema does
-- not name are wrong.

local cjson = require("cjson")

local Description = {}
Description.__index = Description

local function pattern_of(path)
  return "^" .. path:gsub("[%-%.]", "%%%0"):gsub("{[^}]+}", "[^/]+") .. "$"
end

-- The paths of the file, those without parameters first.
local function open(path)
  local file = assert(io.open(path, "rb"))
  local document = cjson.decode(file:read("*a"))
  file:close()
  local routes = {}
  for name, operations in pairs(document.paths) do
    routes[#routes + 1] = { name = name, pattern = pattern_of(name), operations = operations }
  end
  table.sort(routes, function(a, b)
    local x, y = a.name:find("{", 1, true) ~= nil, b.name:find("{", 1, true) ~= nil
    if x ~= y then return y end
    return a.name < b.name
  end)
  return setmetatable({ document = document, routes = routes }, Description)
end

local function is_array(value)
  return type(value) == "table" and (#value > 0 or next(value) == nil)
end

local types = {
  string = function(value) return type(value) == "string" end,
  boolean = function(value) return type(value) == "boolean" end,
  number = function(value) return type(value) == "number" end,
  integer = function(value) return type(value) == "number" and value % 1 == 0 end,
  array = is_array,
  object = function(value) return type(value) == "table" and #value == 0 end,
}

local HEX = "[0-9a-f]"
local UUID = "^" .. HEX:rep(8) .. ("%-" .. HEX:rep(4)):rep(3) .. "%-" .. HEX:rep(12) .. "$"

-- nil, or where and why the value is not what the schema says.
function Description:check(schema, value, where)
  if schema["$ref"] then
    schema = assert(self.document.components.schemas[schema["$ref"]:match("[^/]+$")], schema["$ref"])
    return self:check(schema, value, where)
  end
  if value == cjson.null then return not schema.nullable and where .. ": null" or nil end
  local alternatives = schema.anyOf or schema.oneOf
  if alternatives then
    local whys = {}
    for _, each in ipairs(alternatives) do
      local why = self:check(each, value, where)
      if not why then return nil end
      whys[#whys + 1] = why
    end
    return table.concat(whys, "; or ")
  end
  for _, each in ipairs(schema.allOf or {}) do
    local why = self:check(each, value, where)
    if why then return why end
  end
  if schema.type and not types[schema.type](value) then return where .. ": no " .. schema.type end
  if schema.format == "uuid" and not value:lower():find(UUID) then return where .. ": no UUID: " .. value end
  if schema.minimum and value < schema.minimum then return where .. ": below " .. schema.minimum end
  if schema.enum then
    local found
    for _, each in ipairs(schema.enum) do found = found or each == value end
    if not found then return where .. ": unknown " .. tostring(value) end
  end
  return schema.type == "array" and self:check_items(schema, value, where)
    or schema.type == "object" and self:check_fields(schema, value, where) or nil
end

function Description:check_items(schema, value, where)
  for i, item in ipairs(value) do
    local why = self:check(schema.items, item, where .. "[" .. i .. "]")
    if why then return why end
  end
end

function Description:check_fields(schema, value, where)
  for _, name in ipairs(schema.required or {}) do
    if value[name] == nil then return where .. ": without " .. name end
  end
  local open_schema = schema.additionalProperties
  for name, field in pairs(value) do
    local known = schema.properties and schema.properties[name]
    if not known and not open_schema then return where .. ": unknown field " .. tostring(name) end
    local of = known or type(open_schema) == "table" and open_schema
    local why = of and self:check(of, field, where .. "." .. tostring(name))
    if why then return why end
  end
end

-- A query's text as the type that its parameter has.
local function as_type(schema, text)
  if schema.type == "boolean" and (text == "true" or text == "false") then return text == "true" end
  return (schema.type == "integer" or schema.type == "number") and tonumber(text) or text
end

-- The operation that a request asks for, and nil; or nil and why there is none, or what is wrong with the request.
-- @param query table of texts
-- @param body table; nil: none
function Description:request(method, path, query, body)
  for _, route in ipairs(self.routes) do
    local operation = path:find(route.pattern) and route.operations[method:lower()]
    if operation then
      local parameters = {}
      for _, each in ipairs(operation.parameters or {}) do parameters[each.name] = each end
      for name, text in pairs(query) do
        if not parameters[name] then return nil, "unknown parameter " .. name end
        local why = self:check(parameters[name].schema, as_type(parameters[name].schema, text), name)
        if why then return nil, why end
      end
      local wanted = operation.requestBody and operation.requestBody.content["application/json"].schema
      if (wanted == nil) ~= (body == nil) then return nil, body and "a body that nobody asked for" or "no body" end
      local why = wanted and self:check(wanted, body, "body")
      if why then return nil, why end
      return operation
    end
  end
  return nil, "no such route: " .. method .. " " .. path
end

-- nil, or why the answer is none that the operation gives.
function Description:answer(operation, status, body)
  local responses = operation.responses
  local response = responses[tostring(status)] or responses[tostring(status):sub(1, 1) .. "XX"] or responses.default
  if not response then return "no answer with status " .. status end
  return self:check(response.content["application/json"].schema, body, "answer")
end

return { open = open }
