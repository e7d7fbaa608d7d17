-- Vectors that depend on a file's bytes and on nothing that can be seen in the picture. The same bytes give the same vector, other
-- bytes one that is nearly orthogonal to it.
--
-- A vector is put together from ready-made blocks of text, chosen by bytes of the digest. All blocks of one size have the same
-- length in the geometric sense, so that any choice of them has length 1, and no number is formatted while requests wait.

local BLOCK = 32
local VARIANTS = 256 -- one byte of digest picks a block
local EDGE = 8192 -- bytes read at either end of a file

local M = { dimension = tonumber(os.getenv("BACKEND_DIM")) }

local function make_block(size, variant, ending)
  local values, square = {}, 0
  for i = 1, size do
    -- Four bytes of a digest as a fraction: the same number on every machine, whatever its `math.random`.
    local a, b, c, d = ngx.md5_bin(("block %d %d %d"):format(size, variant, i)):byte(1, 4)
    values[i] = (((a * 256 + b) * 256 + c) * 256 + d + 0.5) / 2 ^ 31 - 1
    square = square + values[i] ^ 2
  end
  local scale = math.sqrt(size / M.dimension / square)
  for i = 1, size do values[i] = ("%.16f"):format(values[i] * scale) end
  return table.concat(values, ",") .. ending
end

local function make_blocks(size, ending)
  local blocks = {}
  for variant = 0, VARIANTS - 1 do blocks[variant] = make_block(size, variant, ending) end
  return blocks
end

local whole_blocks = math.ceil(M.dimension / BLOCK) - 1
local inner = make_blocks(BLOCK, ",")
local last = make_blocks(M.dimension - whole_blocks * BLOCK, "")

--- 16 bytes, of the file's size, beginning and end; nil when it cannot be read.
function M.digest(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local size = file:seek("end")
  file:seek("set")
  local head = file:read(EDGE) or ""
  local tail = ""
  if size > EDGE then
    file:seek("set", math.max(EDGE, size - EDGE))
    tail = file:read(EDGE) or ""
  end
  file:close()
  return ngx.md5_bin(size .. ":" .. head .. tail)
end

--- Append the JSON array for a digest to a list of strings.
function M.append(parts, digest)
  local n = #parts + 1
  parts[n] = "["
  local choice = digest
  for i = 0, whole_blocks do
    if i > 0 and i % 16 == 0 then choice = ngx.md5_bin(choice) end
    local blocks = i < whole_blocks and inner or last
    parts[n + 1 + i] = blocks[choice:byte(i % 16 + 1)]
  end
  parts[n + whole_blocks + 2] = "]"
end

return M
