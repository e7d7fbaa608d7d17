--- An index in one SQLite file (revec.store), on this machine alone.
--
-- No request is made: `ask` is not used. Calls block on the disk, and up to 5 s on another process that writes to the file. Each is one
-- transaction. Ids are bytes, at most 512. The file is made by `create`, not before.

local core = require "revec.core"
local store = require "revec.store"

-- Bounds how long one transaction keeps readers out.
local MAX_RECORDS = 1000
local MAX_ID = 512

local Sqlite = {}
Sqlite.__index = Sqlite

--- @param settings path: the file; readonly: true when nothing is going to be changed
-- @return adapter; or nil and one line: a folder that is missing, a file that is no index of ours, not to be read, damaged
local function new(settings)
  local path = settings.path
  if not path then return nil, "path: the path of a file expected" end
  local folder = path:match("^(.*/)[^/]*$") or "."
  if core.stat(folder) ~= "folder" then
    return nil, ("%s: the folder %s does not exist: make it first"):format(core.clean(path), core.clean(folder))
  end
  local self = setmetatable({
    kind = "sqlite", where = path, max_records = MAX_RECORDS, swaps = true,
    collection = "live", readonly = settings.readonly or false, stores = {},
  }, Sqlite)
  local _, why = self:store()
  if why then return nil, core.clean(why) end
  return self
end

-- A full disk, a lock or damage is no record's fault, and the next call will fare no better.
local function failure(line, kind)
  return { kind = kind or "unreachable", message = core.clean(line), attempts = 1 }
end

-- The open store of the collection; nil when there is no file and it is not to be made; nil and a line when it cannot be opened.
function Sqlite:store(make)
  local opened = self.stores[self.collection]
  if opened then return opened end
  if not make and not core.stat(self.where) then return nil end
  local why
  opened, why = store.open(self.where, { collection = self.collection, readonly = self.readonly })
  self.stores[self.collection] = opened
  return opened, why
end

-- One call of the store's: what it gives, or nil and a failure.
function Sqlite:call(method, ...)
  local opened, why = self:store()
  if why then return nil, failure(why) end
  if not opened then return nil, failure(self.where .. ": no such file", "not_found") end
  local result, more = opened[method](opened, ...)
  if result == nil and more then return nil, failure(more) end
  return result, more
end

-- A result; what is read of a collection that is not there looks empty, and is a failure.
function Sqlite:unless_missing(result, is_empty)
  if not is_empty then return result end
  local info, why = self:info()
  if info then return result end
  return nil, why or failure(("%s: no %s collection"):format(self.where, self.collection), "not_found")
end

function Sqlite.check_id(_, id)
  if #id > MAX_ID then return ("id is %d bytes long: at most %d"):format(#id, MAX_ID) end
end

function Sqlite:info()
  local opened, why = self:store()
  if why then return nil, failure(why) end
  if not opened then return nil end
  return self:call("info")
end

function Sqlite:create(_, info)
  local opened, why = self:store(true)
  if not opened then return nil, failure(why) end
  return self:call("set_info", info)
end

function Sqlite:find(_, ids)
  local found, why = self:call("has", ids)
  if not found then return nil, why end
  return self:unless_missing(found, not next(found))
end

function Sqlite:put(_, records)
  local rows = {}
  for i, record in ipairs(records) do
    rows[i] = { id = record.id, path = record.path, tags = record.tags, mtime = record.mtime, size = record.size,
                vector = record.vector:json() }
  end
  local stored, lines = self:call("put", rows)
  if not stored then return nil, lines end
  local bad = {}
  for i, line in pairs(lines or {}) do bad[i] = failure(line, "rejected") end
  return bad
end

function Sqlite:count()
  local count, why = self:call("count")
  if not count then return nil, why end
  return self:unless_missing(count, count == 0)
end

function Sqlite:search(_, vector, top)
  local hits, why = self:call("search", vector:json(), top)
  if not hits then return nil, why end
  return self:unless_missing(hits, not hits[1])
end

function Sqlite:drop()
  local opened, why = self:store()
  if why then return nil, failure(why) end
  return not opened or self:call("clear")
end

function Sqlite:stage()
  self.collection = "next"
  return self:drop()
end

function Sqlite:swap()
  self.collection = "next"
  local swapped, why = self:call("swap")
  if not swapped then return nil, why end
  self.collection = "live"
  return true
end

function Sqlite:rollback()
  return self:call("rollback")
end

function Sqlite:close()
  for _, opened in pairs(self.stores) do opened:close() end
  self.stores = {}
end

return { new = new }
