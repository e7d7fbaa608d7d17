-- A rebuild in libuv's loop, beside a timer of the host's own.
--
--   lua5.4 examples/event_loop_luv.lua STORAGE [URL]
--
-- Nothing polls: the job's descriptor is readable when there is something to do, and between two turns nothing runs here.

local uv, revec = require "luv", require "revec"

local job = assert(revec.start { storage_path = arg[1], api_url = arg[2] })
local poll, timer, turns = uv.new_poll(job:fd()), uv.new_timer(), 0

local function turn()
  turns = turns + 1
  if job:step() then return end
  poll:close()
  timer:close()
  local report = job:report()
  print(("%s: %d of %d succeeded, %d requests in %d turns"):format(
    report.reason, report.succeeded, report.total, report.sends, turns))
end

timer:start(200, 200, function() print(job:snapshot().done .. " done") end)
poll:start("r", turn)
turn() -- the first is ours: it sets the work going
uv.run()
