-- Vectors of what can be seen: revec's own descriptor (doc/describe.md). Pictures that look alike are near each other.

local describe = require("revec.describe")
local ffi = require("ffi")

local M = { dimension = describe.dimension }

--- The vector as float32; nil when there is no such file; nil and a line when it is no image.
function M.digest(path)
  local vector, kind, why = describe.file(path)
  if vector then return vector end
  return nil, kind ~= "unreadable_file" and why or nil
end

--- Append the JSON array for a digest to a list of strings.
function M.append(parts, digest)
  local numbers, texts = ffi.cast("const float *", digest), {}
  for i = 1, M.dimension do texts[i] = ("%.9g"):format(numbers[i - 1]) end
  table.insert(parts, "[" .. table.concat(texts, ",") .. "]")
end

return M
