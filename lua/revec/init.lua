--- revec: rebuilds a vector index from a folder of images, and keeps it in step. doc/library.md is the reference.

local core = require "revec.core"
local jobs = require "revec.job"
local options = require "revec.options"

local M = { version = core.version }

-- The caller's options, checked; a mistake is raised where the caller made it.
local function resolve(given)
  local resolved, why = options.resolve(given or {})
  if not resolved then error("revec: " .. why, 3) end
  return resolved
end

--- Starts a rebuild that the caller drives.
-- @param given table of options and hooks (doc/options.md, doc/hooks.md); copied
-- @return a job: step(seconds) → whether it goes on, fd(), stop(), abort(), snapshot(), report();
--   or nil and one line when the world is in the way (storage, token, record folder)
-- @raise for an option that does not exist or is out of range
-- @usage local job = assert(revec.start { storage_path = "photos" })
--   while job:step(1) do print(job:snapshot().done) end
function M.start(given)
  return jobs.new(resolve(given))
end

--- Rebuilds, and blocks until it is done.
-- @return report; or nil and one line, as start
-- @raise as start
-- @usage local report = assert(require "revec".rebuild { storage_path = "photos", limit = 10 })
function M.rebuild(given)
  local job, why = jobs.new(resolve(given))
  if not job then return nil, why end
  while job:step(60) do end -- luacheck: ignore
  return job:report()
end

return M
