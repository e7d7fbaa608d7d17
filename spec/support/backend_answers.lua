-- What a well-behaved backend answers, as text; see the API's description for the wire format.

local backend_answers = {}

local DEFAULT_DIM = 2560
local NUMBER_WIDTH = 19

-- dim numbers of equal width and both signs whose squares add up to 1, parted by commas.
local function make_numbers(dim)
  local values, squares = {}, 0
  for i = 1, dim do
    values[i] = (i * 7919 % 1999 + 1) * (i % 2 == 0 and -1 or 1)
    squares = squares + values[i] * values[i]
  end
  local norm = math.sqrt(squares)
  for i = 1, dim do
    values[i] = (values[i] < 0 and "%.16f" or "%.17f"):format(values[i] / norm)
  end
  return table.concat(values, ",")
end

local numbers_of = setmetatable({}, {
  __index = function(cache, dim)
    cache[dim] = make_numbers(dim)
    return cache[dim]
  end,
})

-- The vector of an id: always the same for one id, mostly different for different ones (the same numbers, turned
-- round by the id's hash, so that 50 KB cost no formatting), of length 1.
function backend_answers.vector(id, dim)
  dim = dim or DEFAULT_DIM
  local hash = 0
  for i = 1, #id do hash = (hash * 31 + id:byte(i)) % 1000003 end
  local numbers = numbers_of[dim]
  local turn = hash % dim
  if turn == 0 then return "[" .. numbers .. "]" end
  local cut = turn * (NUMBER_WIDTH + 1)
  return "[" .. numbers:sub(cut + 1) .. "," .. numbers:sub(1, cut - 1) .. "]"
end

local function json_string(text)
  return '"' .. text:gsub('[%c"\\]', function(char) return ("\\u%04x"):format(char:byte()) end) .. '"'
end

function backend_answers.embedding(id, dim)
  dim = dim or DEFAULT_DIM
  return '{"status":"success","message":"ok","data":[{"index":0,"embedding":' .. backend_answers.vector(id, dim)
    .. ',"dimension":' .. dim .. "}]}"
end

-- Everything a look-up tells of one id.
function backend_answers.record(id, dim)
  return '{"id":' .. json_string(id) .. ',"vector":' .. backend_answers.vector(id, dim) .. ',"metadata":{}}'
end

-- A page of the list tells no vectors.
function backend_answers.listed(id)
  return '{"id":' .. json_string(id) .. ',"score":1.0,"metadata":{}}'
end

function backend_answers.error(detail)
  return '{"detail":' .. json_string(detail) .. "}"
end

return backend_answers
