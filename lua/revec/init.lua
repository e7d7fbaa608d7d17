--- revec: rebuilds a vector index from a folder of images, and keeps it in step. doc/library.md is the reference.

local core = require "revec.core"
local images = require "revec.image"
local jobs = require "revec.job"
local once = require "revec.once"
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

--- The images of an index that are most like a file. Blocks until they are found.
-- @param given image: the file's path; top (1..10000, 10); and options that say where: index, embedder and transport
-- @return array, best first, of { id, path, score }, score being the cosine; or nil and one line
-- @raise as start
-- @usage for _, hit in ipairs(assert(revec.search { image = "a.jpg", index = "index.sqlite" })) do print(hit.score, hit.path) end
function M.search(given)
  local rest = {}
  for key, value in pairs(given or {}) do rest[key] = value end
  local image, top = rest.image, rest.top or 10
  rest.image, rest.top = nil, nil
  if type(image) ~= "string" or image == "" then error("revec: image: the path of a file expected", 2) end
  if type(top) ~= "number" or top % 1 ~= 0 or top < 1 or top > 10000 then error("revec: top: integer 1..10000 expected", 2) end
  local file = images.new("", image, image)
  return once.search(resolve(rest), file, top)
end

--- Has the index switch back to the collection that the last swap replaced, in one step. Blocks until it is done.
-- @param given options that say where: index and transport
-- @return where it was done; or nil and one line
-- @raise as start
function M.rollback(given)
  return once.rollback(resolve(given))
end

--- What there is at the index. Blocks until it is answered.
-- @return { where, count }, count nil when there is no such collection; or nil and one line
-- @raise as start
function M.look(given)
  return once.look(resolve(given))
end

return M
