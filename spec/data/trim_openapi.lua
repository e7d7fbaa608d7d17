-- Makes the extract of an OpenAPI file that is kept here: some paths and the schemas that they lead to, without words and
-- examples, and without the fields of schemas that are named with a minus.
--   lua5.4 spec/data/trim_openapi.lua PATH… -FIELD… < openapi.json > extract.json

local cjson = require("cjson")

local paths, unused = {}, {}
for _, word in ipairs(arg) do
  if word:sub(1, 1) == "-" then unused[word:sub(2)] = true else paths[#paths + 1] = word end
end
local words = { description = true, example = true, examples = true, summary = true, tags = true, default = true, deprecated = true }
local of_names = { properties = true, schemas = true, responses = true, paths = true }

-- A copy of what is kept. `named`: the keys are names that the file gives, not words of OpenAPI.
local function prune(value, named)
  if type(value) ~= "table" then return value end
  local kept, count = {}, 0
  for key, inner in pairs(value) do
    if not (named and unused or words)[key] then
      kept[key] = prune(inner, not named and of_names[key])
      count = count + 1
    end
  end
  -- This file's way to say "or null". Prism's validator refuses to compile it without a type, and then lets pass whatever comes.
  if count == 1 and kept.nullable and not named then kept.type, kept.enum = "string", { "null" } end
  return kept
end

local document = prune(cjson.decode(io.read("*a")))
local schemas = {}

local function follow(value)
  if type(value) ~= "table" then return end
  local name = type(value["$ref"]) == "string" and value["$ref"]:match("^#/components/schemas/(.+)$")
  if name and not schemas[name] then
    schemas[name] = document.components.schemas[name]
    follow(schemas[name])
  end
  for _, inner in pairs(value) do follow(inner) end
end

-- JSON with sorted keys, so that the extracts of two versions can be compared.
local function write(value)
  if type(value) ~= "table" then return (cjson.encode(value):gsub("\\/", "/")) end
  local parts, keys = {}, {}
  for i, item in ipairs(value) do parts[i] = write(item) end
  if #parts > 0 then return "[" .. table.concat(parts, ",") .. "]" end
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys)
  for i, key in ipairs(keys) do parts[i] = write(key) .. ":" .. write(value[key]) end
  return "{" .. table.concat(parts, ",\n") .. "}"
end

local wanted = {}
for _, path in ipairs(paths) do
  wanted[path] = assert(document.paths[path], "no such path: " .. path)
  follow(wanted[path])
end
local info = { title = document.info.title, version = document.info.version, license = document.info.license }
io.write(write { openapi = document.openapi, info = info, paths = wanted, components = { schemas = schemas } }, "\n")
