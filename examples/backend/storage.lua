-- The folder of images, which backend and client share. The real service finds an image by the stem of its name alone, so this
-- keeps a map from stem to file. It is made by walking the folder when an id is asked for that is not in it, but not at each such
-- request: a client may well ask for many ids that do not exist.

local ffi = require("ffi")
local vectors = require("vectors")

ffi.cdef [[
  struct dirent { uint64_t d_ino; int64_t d_off; unsigned short d_reclen; unsigned char d_type; char d_name[256]; };
  void *opendir(const char *);
  struct dirent *readdir(void *);
  int closedir(void *);
  ptrdiff_t readlink(const char *, char *, size_t);
]]

local TYPE_UNKNOWN, TYPE_DIRECTORY, TYPE_FILE, TYPE_LINK = 0, 4, 8, 10
local EXTENSIONS = { jpg = true, jpeg = true, png = true, gif = true, webp = true, bmp = true }
local MIN_PAUSE = 1 -- seconds between two walks

local M = { root = os.getenv("BACKEND_STORAGE") }

-- From stem to folder, NUL, extension. There are few different ones of these, so a million files cost their stems and little else.
local places = {}
local next_walk = 0

local function is_link(path)
  return ffi.C.readlink(path, ffi.new("char[1]"), 1) >= 0
end

-- Links to files count as files; links to folders are not followed.
local function walk(folder, found)
  local handle = ffi.C.opendir(M.root .. "/" .. folder)
  if handle == nil then return false end
  local folders = {}
  while true do
    local entry = ffi.C.readdir(handle)
    if entry == nil then break end
    local name, kind = ffi.string(entry.d_name), entry.d_type
    if kind == TYPE_DIRECTORY or kind == TYPE_UNKNOWN then
      if name ~= "." and name ~= ".." then table.insert(folders, { folder .. name, kind }) end
    end
    if kind == TYPE_FILE or kind == TYPE_LINK or kind == TYPE_UNKNOWN then
      local stem, extension = name:match("^(.+)%.(%w+)$")
      if stem and EXTENSIONS[extension:lower()] then
        local place = folder .. "\0." .. extension
        -- Of files with one stem the first in order counts, whatever the order of the directory.
        if not found[stem] or place < found[stem] then found[stem] = place end
      end
    end
  end
  ffi.C.closedir(handle)
  for _, item in ipairs(folders) do
    local path, kind = item[1], item[2]
    if kind == TYPE_DIRECTORY or not is_link(M.root .. "/" .. path) then walk(path .. "/", found) end
  end
  return true
end

local function refresh()
  ngx.update_time()
  local started = ngx.now()
  if started < next_walk then return end
  local found = {}
  if not walk("", found) then ngx.log(ngx.ERR, "cannot read the storage: ", M.root) end
  places = found
  ngx.update_time()
  -- A storage that takes long to walk is walked for a tenth of the time at most.
  next_walk = ngx.now() + math.max(MIN_PAUSE, 10 * (ngx.now() - started))
end

local function look(id)
  local place = places[id]
  if not place then return nil end
  local folder, extension = place:match("^(.*)%z(.*)$")
  local path = folder .. id .. extension
  local digest, why = vectors.digest(M.root .. "/" .. path)
  if not digest and not why then return nil end
  return path, digest, why
end

--- Path (relative to the storage) and digest (see vectors.lua) of the image with this stem; nil if there is none; the path, nil and a
-- line if it cannot be embedded.
function M.find(id)
  if not look(id) then refresh() end
  return look(id)
end

return M
