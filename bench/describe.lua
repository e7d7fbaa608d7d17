-- The second half of bench/describe: indexes the originals, asks for each variant, prints the table.
-- Arguments: the checkout, the folder with `originals` (number, path) and `variants.d` (NUMBER.KIND.EXTENSION).
local checkout, work = arg[1], arg[2]
package.cpath = checkout .. "/build/5.4/?.so;" .. package.cpath
local describe = require "revec.describe"
local store = require "revec.store"

local function lines(command)
  local pipe = assert(io.popen(command))
  local list = {}
  for line in pipe:lines() do list[#list + 1] = line end
  assert(pipe:close(), command)
  return list
end

local function vector_of(path)
  local vector, _, why = describe.file(path)
  return vector or error(why, 0)
end

local index = assert(store.open(work .. "/index.sqlite"))
assert(index:set_info { model = describe.name, dimension = describe.dimension })
local records, began = {}, os.clock()
for line in io.lines(work .. "/originals") do
  local number, path = line:match("^%s*(%d+)%s+(.+)$")
  records[#records + 1] = { id = number, path = path, vector = vector_of(path) }
end
local described = os.clock() - began
assert(index:put(records) == #records)

local found = {} -- by kind: { asked, first, first three }
local searched, queries = 0, 0
for _, name in ipairs(lines("ls '" .. work .. "/variants.d'")) do
  local number, kind = name:match("^(%d+)%.([%w-]+)%.")
  local vector = vector_of(work .. "/variants.d/" .. name)
  began = os.clock()
  local hits = assert(index:search(vector, 3))
  searched, queries = searched + os.clock() - began, queries + 1
  local tally = found[kind] or { 0, 0, 0 }
  found[kind] = tally
  tally[1] = tally[1] + 1
  for rank, hit in ipairs(hits) do
    if hit.id == number then
      if rank == 1 then tally[2] = tally[2] + 1 end
      tally[3] = tally[3] + 1
    end
  end
end

print(("%d images of 480 x 320 in six formats, described in %.1f ms each; %d queries, searched in %.2f ms each\n")
  :format(#records, described / #records * 1000, queries, searched / queries * 1000))
print("| variant | first | among the first 3 |\n| --- | ---: | ---: |")
for _, kind in ipairs { "jpeg-90", "jpeg-70", "jpeg-50", "jpeg-30", "webp-50", "png", "resize-200", "resize-150", "resize-75",
  "resize-50", "resize-25", "crop-5", "crop-10", "crop-20", "flip" } do
  local tally = assert(found[kind], kind)
  assert(tally[1] == #records, kind)
  print(("| %s | %.1f %% | %.1f %% |"):format(kind, tally[2] / tally[1] * 100, tally[3] / tally[1] * 100))
end
