-- Only what is large enough and new enough.
--
--   lua rebuild.lua --config examples/filter.lua

local LEAST_BYTES = 10 * 1024
local SINCE = os.time { year = 2024, month = 1, day = 1 }

return {
  -- Neither size nor mtime is there when the file is gone since the walk.
  filter = function(image)
    return image.size and image.size >= LEAST_BYTES and image.mtime >= SINCE
  end,
}
