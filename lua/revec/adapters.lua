--- The embedder and the index of a direct rebuild, as the options name them (doc/direct.md).
--
-- An adapter says how one service is asked, and nothing else. doc/adapters.md has its contract.

local core = require "revec.core"
local options = require "revec.options"
local transport = require "revec.transport"

local M = {
  embedders = { "mpeg7", "openai", "vllm", "jina", "cohere", "voyage", "dashscope", "plain" },
  indexes = { "sqlite", "qdrant", "chroma", "postgresql", "milvus", "elasticsearch", "opensearch" },
}

local EMBEDDER = "mpeg7"
local INDEX = "index.sqlite"
local files = { opensearch = "elasticsearch" } -- where the adapter has another name than its file

local function quote(text) return '"' .. core.fit(core.clean(text), 60) .. '"' end

-- The value that a Lua file returns; or nil and why not.
local function read(path)
  local chunk, why = loadfile(path)
  if not chunk then return nil, core.clean(why) end
  local ok, value = pcall(chunk)
  if not ok then return nil, core.clean(tostring(value)) end
  return value
end

-- What a text means: settings of an adapter; or nil and why it means nothing.
local meaning = {
  embedder = function(text)
    local kind, url, model = text:match("^(%w*)%+?(https?://[^#]*)#?(.*)$")
    if kind then return { kind = kind ~= "" and kind or "plain", url = url, model = model ~= "" and model or nil } end
    if not text:find("%.lua$") then
      kind, model = text:match("^([^#]*)#?(.*)$")
      return { kind = kind, model = model ~= "" and model or nil }
    end
    local value, why = read(text)
    if value == nil and why then return nil, why end
    if type(value) == "function" or type(value) == "table" then return value end
    return nil, text .. ": a function or a table expected as its result, got " .. type(value)
  end,
  index = function(text)
    local kind, base, collection = text:match("^(%w+)%+(https?://[^?#]*)/([^/?#]+)/?$")
    if kind and base:find("//[^/]") then return { kind = kind, url = base, collection = collection } end
    if text:find("^postgres[ql]*://") then return { kind = "postgresql", url = text } end
    if text:find("^[%w+.-]+://") then
      return nil, options.redact(text) .. ": KIND+http://HOST:PORT/COLLECTION expected, as qdrant+http://localhost:6333/images"
    end
    return { kind = "sqlite", path = text }
  end,
}

-- The settings' module; or nil and why there is none.
local function module_of(what, kind, kinds)
  for _, known in ipairs(kinds) do
    if kind == known then return require("revec." .. what .. (what == "index" and "es." or "s.") .. (files[kind] or kind)) end
  end
  local guess = type(kind) == "string" and options.nearest(kind, kinds)
  return nil, string.format("%s: no such %s%s", quote(options.redact(tostring(kind))), what,
    guess and ": did you mean " .. guess .. "?" or " (" .. table.concat(kinds, ", ") .. ")")
end

-- Settings of any adapter that are texts, where they are there at all.
local TEXTS = { "url", "path", "collection", "table", "schema", "tenant", "database", "model", "token_env" }

-- What of the settings has a wrong type; nil: nothing.
local function wrong(settings)
  for _, name in ipairs(TEXTS) do
    local value = settings[name]
    if value and (type(value) ~= "string" or value == "" or value:find("%z")) then
      return name .. ": a text expected, neither empty nor with NUL bytes"
    end
  end
  if settings.headers == nil then return nil end
  local _, why = options.check(options.by_name.header, settings.headers)
  return why and "headers: " .. why
end

-- @param what "embedder" or "index"
-- @param given as the option has it: a text, a table of settings, or a function
-- @param own settings that hold unless `given` has others
local function make(what, given, own)
  local settings, why = given, nil
  if type(given) == "string" then settings, why = meaning[what](given) end
  if not settings then return nil, what .. ": " .. why end
  if type(settings) == "function" then settings = { kind = "func", call = settings } end
  local all = {}
  for key, value in pairs(own) do all[key] = value end
  for key, value in pairs(settings) do all[key] = value end
  local module
  if what == "embedder" and all.kind == "func" and type(all.call) == "function" then
    module = require "revec.embedders.func"
  else
    module, why = module_of(what, all.kind, M[what == "index" and "indexes" or "embedders"])
    if not module then return nil, what .. ": " .. why end
  end
  for key, value in pairs(module.defaults or {}) do
    if all[key] == nil then all[key] = value end
  end
  why = wrong(all)
  if why then return nil, what .. ": " .. why end
  if all.token_env then
    all.token, why = transport.token(all.token_env)
    if not all.token then return nil, what .. ": " .. why end
  end
  all.headers, why = transport.headers(all.headers)
  if not all.headers then return nil, what .. ": " .. why end
  local adapter
  adapter, why = module.new(all)
  if not adapter then return nil, what .. ": " .. why end
  return adapter
end

--- The embedder that the options ask for; by default what needs no service. Its request headers and its token are those of
-- the options header and token_env, unless its table has its own.
-- @return adapter; or nil and one line
function M.embedder(resolved)
  return make("embedder", resolved.embedder or EMBEDDER, { token_env = resolved.token_env, headers = resolved.header })
end

--- The index that the options ask for; by default a file in the current folder.
-- @return adapter; or nil and one line
function M.index(resolved)
  return make("index", resolved.index or INDEX, {})
end

return M
