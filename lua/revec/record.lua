--- The record of failures: a journal that grows line by line as images fail, and at the end of the run the documented
-- failed_images_YYYYMMDD_HHMMSS.json, made from it and written whole. A run that was killed leaves its journal behind;
-- the next one in the same folder makes the record from it. All calls block as long as the disk does.

local cjson = require "cjson.safe"
local core = require "revec.core"

local Record = {}
Record.__index = Record

local JOURNAL = "^failed_images_(%d%d%d%d%d%d%d%d_%d%d%d%d%d%d)%.%d+%.journal$"

-- A JSON string of bytes that may not be UTF-8; slashes stay readable.
local function json_string(s)
  return (cjson.encode(core.clean(s, true)):gsub("\\/", "/"))
end

-- One failure as a line of the journal: the record's fields, each with a tab behind it, which no JSON string holds.
local function entry(image, failure)
  local fields = {
    '"id": ' .. json_string(image.id),
    '"filename": ' .. json_string(image.filename),
    '"path": ' .. json_string(image.path),
  }
  if not core.is_utf8(image.path) then
    fields[#fields + 1] = '"path_base64": "' .. core.base64(image.path) .. '"'
  end
  fields[#fields + 1] = '"error": ' .. json_string(failure.message)
  fields[#fields + 1] = '"kind": "' .. failure.kind .. '"'
  fields[#fields + 1] = '"status": ' .. (failure.status and string.format("%d", failure.status) or "null")
  fields[#fields + 1] = string.format('"attempts": %d', failure.attempts)
  fields[#fields + 1] = string.format('"sends": %d', failure.sends)
  return table.concat(fields, "\t") .. "\t\n"
end

-- Whether a field of a line is what entry makes of one: cjson alone takes numbers and bytes that JSON has not.
local function is_field(field)
  local value = field:match('^"[%l_%d]+": (.+)$')
  if not value or value == "null" or value:find("^%d+$") then return value ~= nil end
  return value:find('^".*"$') and not value:find("[%c%z]") and core.is_utf8(value) and cjson.decode("{" .. field .. "}") and true
end

-- The line as an object of the record, or nil when it is not whole: the run was killed while it was written, or the disk
-- has lost some of it. One line that is none would make the whole record unreadable.
local function object(line)
  local fields = line:match('^("id": .*\t"path": .*\t"sends": %d+)\t$')
  if not fields then return nil end
  for field in (fields .. "\t"):gmatch("([^\t]*)\t") do
    if not is_field(field) then return nil end
  end
  return "  {\n    " .. fields:gsub("\t", ",\n    ") .. "\n  }"
end

-- The path of a file in dir, as one would write it.
local function inside(dir, name)
  return dir == "." and name or dir .. "/" .. name
end

-- Moves the file to failed_images_STAMP.json in dir, or to _2 and so on where that is taken. Its path; or nil and why.
local function place(temporary, dir, stamp)
  local path, n = inside(dir, "failed_images_" .. stamp .. ".json"), 1
  local ok, why = core.move(temporary, path)
  while ok == false do
    n = n + 1
    path = inside(dir, string.format("failed_images_%s_%d.json", stamp, n))
    ok, why = core.move(temporary, path)
  end
  return ok and path, why
end

-- The lines of an open file; file:lines() of 5.1 takes a line with a NUL byte and the next for one.
local function lines_of(file)
  local text, at = "", 1
  return function()
    local stop = text:find("\n", at, true)
    while not stop do
      local more = file:read(65536)
      if not more then break end
      text, at = text:sub(at) .. more, 1
      stop = text:find("\n", at, true)
    end
    local line = text:sub(at, stop and stop - 1)
    at = stop and stop + 1 or #text + 1
    return (stop or line ~= "") and line or nil
  end
end

-- Writes the objects of a journal to out as an array; how many, or nil and why.
local function write_objects(journal, out)
  local count = 0
  for line in lines_of(journal) do
    local text = object(line)
    if text then
      local ok, why = out:write(count == 0 and "[\n" or ",\n", text)
      if not ok then return nil, why end
      count = count + 1
    end
  end
  local ok, why = out:write(count == 0 and "[]\n" or "\n]\n")
  return ok and count, why
end

-- Makes the record from an open journal at a path: a temporary file, fsync, a name that is free, fsync of the folder. The
-- path of the record; nil when there was no failure, or nil and why.
local function write_record(journal, path, dir, stamp)
  local temporary = path .. ".tmp"
  -- One that was left may be the record itself by another name.
  os.remove(temporary)
  local out, why = io.open(temporary, "w")
  if not out then return nil, why end
  local count, ok, record
  count, why = write_objects(journal, out)
  if count and count > 0 then
    ok, why = core.sync(out)
    if not ok then count = nil end
  end
  out:close()
  if count and count > 0 then
    record, why = place(temporary, dir, stamp)
    if record then ok, why = core.sync_folder(dir) end
    if record and ok then return record end
  end
  os.remove(temporary)
  return nil, why
end

--- Opens the journal of a run.
-- @param dir folder of the record
-- @return record, or nil and why nothing can be written there
local function open(dir)
  local number = core.pid()
  while true do
    local path = inside(dir, string.format("failed_images_%s.%d.journal", os.date("%Y%m%d_%H%M%S"), number))
    local journal, why = io.open(path, "a+")
    if not journal then return nil, why end
    -- False: it is that of another run (in this process, or on another machine with the same folder), or a repair has taken it.
    if core.lock(journal, path) ~= false then return setmetatable({ dir = dir, path = path, journal = journal }, Record) end
    journal:close()
    number = number + 1
  end
end

--- Adds a failure; it is with the system when this returns, and so survives the process.
-- @return true, or nil and why it could not be written
function Record:add(image, failure)
  local ok, why = self.journal:write(entry(image, failure))
  if ok then ok, why = self.journal:flush() end
  return ok, why
end

--- Ends the run's record.
-- @return the record's path; nil when nothing failed; nil, why when it could not be written (the journal stays)
function Record:close()
  self.journal:seek("set")
  local path, why = write_record(self.journal, self.path, self.dir, os.date("%Y%m%d_%H%M%S"))
  if why then
    self.journal:close()
    -- Its folder may have gone away, journal and all.
    return nil, core.stat(self.path) and string.format("%s; the failures are in %s", why, self.path) or why
  end
  os.remove(self.path)
  self.journal:close()
  return path
end

--- Makes the records of runs in dir that were killed, from the journals they left.
-- @return array of the paths of the records made
local function repair(dir)
  local made = {}
  for _, name in ipairs(core.list(dir) or {}) do
    local stamp, path = name:match(JOURNAL), inside(dir, name)
    local journal = stamp and io.open(path, "r+")
    -- The lock of a run that is alive is held; and another repair may have just done it.
    if journal and core.lock(journal, path) then
      local record, why = write_record(journal, path, dir, stamp)
      if not why then os.remove(path) end
      made[#made + 1] = record
    end
    if journal then journal:close() end
  end
  return made
end

return { open = open, repair = repair }
