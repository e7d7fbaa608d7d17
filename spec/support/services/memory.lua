-- What the contract servers share: collections of vectors, and names that stand for them.

local cjson = require("cjson.safe")

local Memory = {}
Memory.__index = Memory

local function new()
  return setmetatable({ collections = {}, aliases = {} }, Memory)
end

--- The collection of a name or an alias, and its own name; nil when there is none.
function Memory:resolve(name)
  local own = self.collections[name] and name or self.aliases[name]
  return self.collections[own], own
end

--- Whether a collection's own name or an alias.
function Memory:is_taken(name)
  return self.collections[name] ~= nil or self.aliases[name] ~= nil
end

--- @param fields what the service keeps of it
function Memory:create(name, fields)
  local collection = { records = {} }
  for key, value in pairs(fields) do collection[key] = value end
  self.collections[name] = collection
end

--- Drops a collection by its own name; whether there was one.
function Memory:drop(name)
  local was = self.collections[name] ~= nil
  self.collections[name] = nil
  for alias, own in pairs(self.aliases) do
    if own == name then self.aliases[alias] = nil end
  end
  return was
end

function Memory.count(collection)
  local count = 0
  for _ in pairs(collection.records) do count = count + 1 end
  return count
end

local function cosine(a, b)
  local product, left, right = 0, 0, 0
  for i, x in ipairs(a) do product, left, right = product + x * b[i], left + x * x, right + b[i] * b[i] end
  return product / math.sqrt(left * right)
end

--- The records whose `vector` is nearest: array of { key =, record =, cosine = }, best first.
function Memory.nearest(collection, vector, top)
  local hits = {}
  for key, record in pairs(collection.records) do
    hits[#hits + 1] = { key = key, record = record, cosine = cosine(vector, record.vector) }
  end
  table.sort(hits, function(a, b)
    if a.cosine ~= b.cosine then return a.cosine > b.cosine end
    return a.key < b.key
  end)
  for i = #hits, top + 1, -1 do hits[i] = nil end
  return hits
end

-- Sequences of UTF-8, the longest first, with no regard for surrogates and the like.
local SEQUENCES = { "[\240-\244][\128-\191][\128-\191][\128-\191]", "[\224-\239][\128-\191][\128-\191]", "[\194-\223][\128-\191]" }

--- A body decoded; nil when it is no JSON of UTF-8, or empty. (cjson takes any bytes.)
function Memory.decode(text)
  local rest = text
  for _, sequence in ipairs(SEQUENCES) do rest = rest:gsub(sequence, "") end
  return not rest:find("[\128-\255]") and cjson.decode(text) or nil
end

--- An array as JSON, of items that are JSON already. (cjson writes an empty one as an object.)
function Memory.array(items)
  return "[" .. table.concat(items, ",") .. "]"
end

return { new = new }
