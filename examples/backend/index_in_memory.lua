-- The index: which ids have a vector. It lives in nginx's shared memory and so survives a reload. A record holds the digest from
-- which the vector is made again, not the vector: a hundred thousand ids fit where five hundred vectors would.
--
-- Listings need the ids in order, and shared memory has none. Each worker keeps a sorted list of its own and the changes since;
-- a page merges those into the list, which is linear. A counter of versions tells of changes made by another worker (the old one,
-- during a reload): the list is then made anew.

local index, control = ngx.shared.index, ngx.shared.control

local DIGEST, TIME = 16, 19 -- bytes of a record: digest, time, path, NUL, tags

local M = {}

local sorted = {}
local changed = {} -- id -> true: now there; false: no longer
local seen_version -- nil: `sorted` and `changed` are of no use

local function note_change(id, present)
  local version = control:incr("version", 1, 0)
  if seen_version and version == seen_version + 1 then
    changed[id] = present
    seen_version = version
  else
    seen_version = nil
  end
end

local function merge_changes()
  local added = {}
  for id, present in pairs(changed) do
    if present then table.insert(added, id) end
  end
  table.sort(added)
  local merged, next_added = {}, 1
  for _, id in ipairs(sorted) do
    while added[next_added] and added[next_added] < id do
      merged[#merged + 1] = added[next_added]
      next_added = next_added + 1
    end
    if changed[id] == nil then merged[#merged + 1] = id end
  end
  for i = next_added, #added do merged[#merged + 1] = added[i] end
  sorted, changed = merged, {}
end

local function sorted_ids()
  local version = control:get("version") or 0
  if seen_version ~= version then
    sorted, changed, seen_version = index:get_keys(0), {}, version
    table.sort(sorted)
  elseif next(changed) ~= nil then
    merge_changes()
  end
  return sorted
end

local function unpack_record(id, record)
  local path, tags = record:match("^(.-)%z(.*)$", DIGEST + TIME + 1)
  return { id = id, digest = record:sub(1, DIGEST), time = record:sub(DIGEST + 1, DIGEST + TIME), path = path, tags = tags }
end

--- Record of an id: { id, digest, time, path, tags }, or nil.
function M.get(id)
  local record = index:get(id)
  return record and unpack_record(id, record)
end

--- Store or replace a record. Returns true, or nil and why not.
function M.put(id, digest, path, tags)
  local record = digest .. ngx.localtime() .. path .. "\0" .. tags
  local ok, err = index:safe_add(id, record)
  if ok then
    note_change(id, true)
    return true
  end
  if err == "exists" then
    ok, err = index:safe_set(id, record)
    -- NB: a replacement of another size frees the old record first, and may then find no room for the new one.
    if not ok and not index:get(id) then note_change(id, false) end
  end
  return ok or nil, err
end

function M.delete(id)
  if index:get(id) then
    index:delete(id)
    note_change(id, false)
  end
end

function M.count()
  return #sorted_ids()
end

--- At most `limit` records in the order of their ids, from the id `offset` on (itself included; nil: from the first).
function M.page(offset, limit)
  local ids = sorted_ids()
  local low, high = 1, #ids + 1
  while offset and low < high do
    local middle = math.floor((low + high) / 2)
    if ids[middle] < offset then low = middle + 1 else high = middle end
  end
  local records = {}
  for i = low, math.min(low + limit - 1, #ids) do table.insert(records, M.get(ids[i])) end
  return records
end

function M.clear()
  index:flush_all()
  index:flush_expired()
  control:incr("version", 1, 0)
  seen_version = nil
end

return M
