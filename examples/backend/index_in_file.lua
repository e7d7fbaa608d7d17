-- The index in an SQLite file, as `revec --direct` keeps it (doc/store.md): it outlives the backend, and `revec search` reads it. Each
-- change waits for the disk.

local describe = require("revec.describe")
local stores = require("revec.store")

local M = {}

local opened

-- Opened by the worker that uses it: none may outlive a fork.
local function store()
  opened = opened or assert(stores.open(os.getenv("BACKEND_INDEX")))
  assert(opened:set_info({ model = describe.name, dimension = describe.dimension }))
  return opened
end

--- Record of an id: { id, digest, time, path, tags }, or nil.
function M.get(id)
  local record = store():get(id)
  if not record then return nil end
  return { id = id, digest = record.vector, time = os.date("%Y-%m-%d %H:%M:%S", record.mtime), path = record.path,
           tags = record.tags or "" }
end

--- Store or replace a record. Returns true, or nil and why not.
function M.put(id, digest, path, tags)
  local stored, bad = store():put({ { id = id, vector = digest, path = path, tags = tags ~= "" and tags or nil, mtime = ngx.time() } })
  if stored == 1 then return true end
  return nil, stored and bad[1] or bad
end

function M.delete(id)
  store():delete({ id })
end

function M.count()
  return store():count()
end

--- At most `limit` records in the order of their ids, from the id `offset` on (itself included; nil: from the first).
function M.page(offset, limit)
  local records = { offset and M.get(offset) }
  if #records == limit then return records end
  for _, id in ipairs(store():ids(offset or "", limit - #records)) do table.insert(records, M.get(id)) end
  return records
end

function M.clear()
  assert(store():clear())
end

return M
