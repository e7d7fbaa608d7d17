-- Keeps a table of what is indexed in an SQLite file: REVEC_SQLITE, by default indexed.sqlite.
--
--   lua rebuild.lua --config examples/sqlite.lua
--
-- Needs LuaDBI (Debian: lua-dbi-sqlite3). Of Debian's modules for SQLite it is the one that binds values: a name with
-- quotes in it is a value like any other, and nothing has to be escaped.

local DBI = require "DBI"

local file = os.getenv "REVEC_SQLITE" or "indexed.sqlite"
local db = assert(DBI.Connect("SQLite3", file))
assert(DBI.Do(db, [[
  CREATE TABLE IF NOT EXISTS image (id TEXT PRIMARY KEY, path TEXT NOT NULL, size INTEGER, mtime REAL, indexed_at INTEGER)
]]))
local embedded = assert(db:prepare "INSERT OR REPLACE INTO image VALUES (?, ?, ?, ?, ?)")
local found = assert(db:prepare "INSERT OR IGNORE INTO image VALUES (?, ?, ?, ?, NULL)")

local function commit()
  if not db:commit() then error(file .. ": the rows cannot be committed", 0) end
end

return {
  on_success = function(image)
    assert(embedded:execute(image.id, image.path, image.size, image.mtime, os.time()))
  end,
  -- Indexed by an earlier run, which may have been killed before its last rows were on the disk.
  on_skip = function(image)
    assert(found:execute(image.id, image.path, image.size, image.mtime))
  end,
  on_progress = commit, -- ten times a second, and at the end
  on_done = function() db:close() end,
}
