--- Sizes, times and shards as people write them. Each function gives nil for what it does not understand. None blocks.

local M = {}

local factors = { [""] = 1, k = 2 ^ 10, m = 2 ^ 20, g = 2 ^ 30 }

--- Bytes: a number, or digits with k, M or G behind them, in either case: 1024, 1024^2, 1024^3.
function M.size(value)
  local bytes = type(value) == "number" and value
  if type(value) == "string" then
    local digits, unit = value:match("^(%d+)([kKmMgG]?)$")
    bytes = digits and tonumber(digits) * factors[unit:lower()]
  end
  return bytes and bytes >= 0 and bytes <= 2 ^ 53 and bytes % 1 == 0 and bytes or nil
end

local seconds = { s = 1, m = 60, h = 3600, d = 86400, w = 7 * 86400 }

-- Local time; nil for a date that no calendar has.
local function date(text)
  local day, clock = text:match("^(%d%d%d%d%-%d%d%-%d%d)$"), "00:00:00"
  if not day then
    day, clock = text:match("^(%d%d%d%d%-%d%d%-%d%d)[ T](%d%d:%d%d[:%d]*)$")
    if not day then return nil end
    if #clock == 5 then clock = clock .. ":00" end
  end
  local year, month, mday = day:match("(%d+)-(%d+)-(%d+)")
  local hour, min, sec = clock:match("^(%d%d):(%d%d):(%d%d)$")
  if not hour or tonumber(hour) > 23 or tonumber(min) > 59 or tonumber(sec) > 59 then return nil end
  -- At noon no zone leaves an hour out: this asks for the date alone.
  local noon = os.time { year = tonumber(year), month = tonumber(month), day = tonumber(mday), hour = 12 }
  if not noon or os.date("%Y-%m-%d", noon) ~= day then return nil end
  return os.time { year = tonumber(year), month = tonumber(month), day = tonumber(mday),
                   hour = tonumber(hour), min = tonumber(min), sec = tonumber(sec) }
end

--- Unix seconds: a number; "@" and such a number; an age, as 90s, 30m, 12h, 7d or 2w; or YYYY-MM-DD, with HH:MM or
-- HH:MM:SS behind a blank or a T, local time.
function M.time(value)
  if type(value) == "number" then return math.abs(value) <= 1e12 and value or nil end
  if type(value) ~= "string" then return nil end
  local number = value:match("^@(%-?%d+%.?%d*)$")
  if number then return M.time(tonumber(number)) end
  local age, unit = value:match("^(%d+)([smhdw])$")
  if age then return M.time(os.time() - tonumber(age) * seconds[unit]) end
  return date(value)
end

-- Which shard of how many, from what a cluster's scheduler tells each of its tasks; or nil and why not.
local function shard_of_task()
  local function env(name) return tonumber(os.getenv(name) or "") end
  local task, index = env "SLURM_ARRAY_TASK_ID", env "JOB_COMPLETION_INDEX"
  if task then
    local step = env "SLURM_ARRAY_TASK_STEP" or 1
    return (task - (env "SLURM_ARRAY_TASK_MIN" or 1)) / step + 1, env "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_COUNT"
  elseif index then
    return index + 1, env "JOB_COMPLETIONS", "JOB_COMPLETIONS"
  end
  return nil, "auto: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set"
end

--- "3/8", or "auto": which shard of how many.
-- @return k, n with 1 <= k <= n; or nil and why not
function M.shard(value)
  local k, n = value:match("^(%d+)/(%d+)$")
  local from
  if value == "auto" then
    k, n, from = shard_of_task()
    if not k then return nil, n end
    if not n then return nil, "auto: " .. from .. " is not set: how many tasks there are" end
  end
  k, n = tonumber(k), tonumber(n)
  if k and n and k >= 1 and k <= n and n < 2 ^ 32 and k % 1 == 0 and n % 1 == 0 then return k, n end
  if from then return nil, string.format("auto: the environment makes this shard %.14g of %.14g: tasks without a gap expected", k, n) end
  return nil, "K/N with K from 1 to N expected"
end

return M
