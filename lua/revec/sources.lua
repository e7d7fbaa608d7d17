--- Where images come from: the walk through the storage, or the record of an earlier run.
--
-- A source has next() → relative path, id, root; or nil, "wait" (later), "end", or "folder", path, why (one that cannot be
-- read). And total() → how many there are as far as is known, and whether that is all. Neither blocks.

local cjson = require "cjson.safe"
local core = require "revec.core"

local Walk = {}
Walk.__index = Walk

function Walk:next()
  local path, what, folder, why = self.engine:next()
  if path then return path, what, self.root end
  return nil, what, folder and self.root .. folder, why
end

function Walk:total()
  return self.engine:total()
end

--- The images below options.storage_path; the walk is the engine's own thread.
-- @return source, or nil and why the storage cannot be read
local function walk(engine, options, root)
  local extensions = {}
  for i, extension in ipairs(options.ext) do extensions[i] = extension:gsub("^%.", ""):lower() end
  local ok, why = engine:walk { root = options.storage_path, extensions = extensions, limit = options.limit }
  if not ok then return nil, "storage_path: " .. core.clean(options.storage_path) .. ": " .. why end
  return setmetatable({ engine = engine, root = root }, Walk)
end

local Record = {}
Record.__index = Record

function Record:next()
  local path = self.paths[self.at]
  if not path then return nil, "end" end
  self.at = self.at + 1
  local name = path:match("[^/]*$")
  local id = name:match("^(.+)%.[^.]*$") or name
  if path:sub(1, #self.root) == self.root then return path:sub(#self.root + 1), id, self.root end
  return path, id, ""
end

function Record:total()
  return #self.paths, true
end

--- The images of a failure record (record.lua). Reads all of it.
-- @return source, or nil and what is wrong with the file
local function record(file, root)
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
    if type(path) ~= "string" then return bad("entry " .. i .. " has no path") end
    paths[i] = entry.path_base64 and core.unbase64(path) or path
  end
  return setmetatable({ paths = paths, at = 1, root = root }, Record)
end

return { walk = walk, record = record }
