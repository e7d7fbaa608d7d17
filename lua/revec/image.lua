--- An image as hooks and events see it. What costs something is looked up when it is first asked for.
--
-- Fields: relative_path (below the storage, "/" between folders), path (the storage's path before it), filename,
-- extension (without dot, as written), id, size (bytes), mtime (Unix seconds). size and mtime are nil for a file that
-- is gone. All but the last two are byte strings, as the file system has them.

local core = require "revec.core"

local Image = {}

local derive = {
  path = function(image) return image.root .. image.relative_path end,
  filename = function(image) return image.relative_path:match("[^/]*$") end,
  extension = function(image) return image.relative_path:match("%.([^./]*)$") end,
}

local function stat(image)
  local _, size, mtime = core.stat(image.path)
  if type(size) ~= "number" then size, mtime = nil, nil end
  rawset(image, "size", size)
  rawset(image, "mtime", mtime)
end

function Image.__index(image, key)
  if derive[key] then
    local value = derive[key](image)
    rawset(image, key, value)
    return value
  elseif key == "size" or key == "mtime" then
    stat(image)
    return rawget(image, key)
  end
end

--- @param root the storage's path, with a slash at its end
local function new(root, relative_path, id)
  -- All that it will get: a table that grows costs more than the request's whole way through Lua otherwise.
  return setmetatable({ root = root, relative_path = relative_path, id = id, stage = false, sends = 0 }, Image)
end

return { new = new }
