--- Where images come from: the walk through the storage, a list of paths, or the record of an earlier run.
--
-- A source has next() → relative path, id, root; or nil, "wait" (later), "end", or "folder", path, why (one that cannot be
-- read), or "entry", text, why (one of the list that is no use). And total() → how many there are as far as is
-- known, whether that is all, and how many images were left out so far by the options that say which to take. Neither
-- blocks.

local cjson = require "cjson.safe"
local core = require "revec.core"
local units = require "revec.units"

local Walk = {}
Walk.__index = Walk

function Walk:next()
  local path, what, folder, why = self.engine:next()
  if path then return path, what, self.root end
  return nil, what, what == "folder" and self.root .. folder or folder, why
end

function Walk:total()
  return self.engine:total()
end

-- The images below options.storage_path, or those that options.files_from lists; the engine's own thread walks or reads.
local function walk(engine, options, root, shard, shards)
  local extensions = {}
  for i, extension in ipairs(options.ext) do extensions[i] = extension:gsub("^%.", ""):lower() end
  local ok, why, _, where = engine:walk {
    root = options.storage_path, files_from = options.files_from, limit = options.limit, extensions = extensions,
    include = options.include, exclude = options.exclude, min_size = options.min_size, max_size = options.max_size,
    newer_than = options.newer_than, shard = shard, shards = shards,
  }
  if ok then return setmetatable({ engine = engine, root = root }, Walk) end
  local name = where == "files_from" and where or "storage_path"
  return nil, name .. ": " .. core.clean(options[name]) .. ": " .. why
end

local Record = {}
Record.__index = Record

local function stem(path)
  local name = path:match("[^/]*$")
  return name:match("^(.+)%.[^.]*$") or name
end

function Record:next()
  local path = self.paths[self.at]
  if not path then return nil, "end" end
  self.at = self.at + 1
  local id = stem(path)
  if path:sub(1, #self.root) == self.root then return path:sub(#self.root + 1), id, self.root end
  return path, id, ""
end

function Record:total()
  return #self.paths, true, 0
end

-- The images of a failure record (record.lua). Reads all of it.
local function record(file, root, by_path, shard, shards)
  local input, why = io.open(file, "rb")
  local text
  if input then
    text, why = input:read("*a")
    input:close()
  end
  if not text then return nil, "retry_failed: " .. core.clean(why) end
  local entries, paths = cjson.decode(text), {}
  local function bad(what) return nil, "retry_failed: " .. core.clean(file) .. ": " .. what end
  if type(entries) ~= "table" or (next(entries) ~= nil and entries[1] == nil) then return bad("not a failure record (a JSON array)") end
  for i, entry in ipairs(entries) do
    local path = type(entry) == "table" and (entry.path_base64 or entry.path)
    if type(path) == "string" and entry.path_base64 then path = core.unbase64(path) end
    if type(path) ~= "string" or not path:find("[^/]$") then return bad("entry " .. i .. " has no path") end
    if by_path and path:sub(1, #root) ~= root then
      return bad("entry " .. i .. " is not in " .. core.clean(root) .. ", as that is written: its id would be another")
    end
    if not shard or core.shard(stem(path), shards) == shard then paths[#paths + 1] = path end
  end
  return setmetatable({ paths = paths, at = 1, root = root }, Record)
end

--- The source that the options ask for.
-- @param root the storage's path, with a slash at its end
-- @return source; or nil and one line: which option's file or folder cannot be read, and why. A source with mine(id) has
--   images of other shards too: where a hook makes the ids, only its caller can tell them apart
local function open(engine, options, root)
  local shard, shards, source, why
  if options.shard then
    shard, shards = units.shard(options.shard)
    if not shard then return nil, "shard: " .. shards end
  end
  if options.max_size and options.max_size < (options.min_size or 0) then return nil, "max_size: it is less than min_size" end
  local function mine(id) return core.shard(id, shards) == shard end
  local by_hook = shard and (options.make_id or options.id ~= "stem")
  if options.retry_failed then
    if options.files_from then return nil, "files_from: not together with retry_failed: both say which images" end
    source, why = record(options.retry_failed, root, options.id == "path" and not options.make_id, not by_hook and shard, shards)
  else
    source, why = walk(engine, options, root, not by_hook and shard or nil, not by_hook and shards or nil)
  end
  if source and by_hook then source.mine = mine end
  return source, why
end

return { open = open }
