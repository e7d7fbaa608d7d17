-- A process in which the calls of a small run fail one by one: failing_spec.lua starts it and reads what it prints.
-- Arguments: the server's URL, a folder to walk, how many images are in it, what fails, every how many calls (1: each).

local root = arg[0]:match("^(.*)spec/support/[^/]*$")
package.path = root .. "?.lua;" .. package.path
require "spec.support.paths"
local census = require "spec.support.census"
local failing = require "revec.failing"
local process = require "spec.support.process"

local url, folder, images, what, step = arg[1], arg[2], arg[3], arg[4], tonumber(arg[5])
local chunk = assert(process.read(root .. "spec/support/small_run.lua"))
local clean = { "out of memory", "Out of memory", "not enough memory", "Cannot allocate memory", "Too many open files",
  "no thread can be started", "Resource temporarily unavailable",
  -- libcurl's words:
  "getaddrinfo() thread failed to start", "Could not resolve host: 127.0.0.1" }

local function is_clean(why)
  if not why or why:find("\n") then return false end
  for _, text in ipairs(clean) do
    if why:find(text, 1, true) then return true end
  end
  return false
end

local runs = 0

-- One run whose calls from..to fail; how many there were, whether it went well all the same, the error if not.
local function run(from, to)
  runs = runs + 1
  return failing.run(chunk, what, from, to, url, process.own_pid .. "." .. runs, folder, images)
end

-- What may stay of a process's first run stays: libcurl's own state.
for _ = 1, 2 do
  local _, ok, why = run(0, 0)
  assert(ok, why)
end
local live, held = failing.live(), census.take()

local function judge(from, to, ok, why)
  local found
  local now = census.take(held)
  if not ok and not is_clean(why) then found = tostring(why) end
  if now.threads ~= held.threads or now.descriptors ~= held.descriptors then
    found = ("%d threads and %d descriptors more"):format(now.threads - held.threads, now.descriptors - held.descriptors)
  end
  if failing.live() ~= live then found = ("%d blocks of memory more, %s"):format(failing.live() - live, tostring(why)) end
  live = failing.live()
  if found then print(("%s %d..%g: %s"):format(what, from, to, found)) end
end

-- Lua tries once more, after collecting its garbage.
local once = what == "lua" and _VERSION == "Lua 5.4" and 1 or 0
for _, length in ipairs { once, math.huge } do
  local n = 1
  while true do
    local to = length == math.huge and 1e15 or n + length
    local calls, ok, why = run(n, to)
    judge(n, to, ok, why)
    if calls < n then break end
    n = n + step
  end
end
print(runs .. " runs")
