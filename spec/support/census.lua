-- Counts what a spec must give back: threads and descriptors of this process.

local lfs = require("lfs")
local socket = require("socket")

local census = {}

local function count(folder)
  local n = 0
  for _ in lfs.dir(folder) do n = n + 1 end
  return n
end

function census.threads() return count("/proc/self/task") end
function census.descriptors() return count("/proc/self/fd") end

-- { threads, descriptors }. What earlier specs have dropped is collected first. A joined thread may stand in /proc for another
-- moment: `expected` waits for that.
function census.take(expected)
  local now
  collectgarbage()
  collectgarbage()
  for _ = 1, 200 do
    now = { threads = census.threads(), descriptors = census.descriptors() }
    if not expected or (now.threads == expected.threads and now.descriptors == expected.descriptors) then break end
    socket.sleep(0.01)
  end
  return now
end

return census
