-- A rebuild in a coroutine of cqueues, beside another that has a timer of its own.
--
--   lua5.4 examples/event_loop_cqueues.lua STORAGE [URL]
--
-- Nothing polls: the job's descriptor is readable when there is something to do, and between two turns nothing runs here.

local cqueues, revec = require "cqueues", require "revec"

local job = assert(revec.start { storage_path = arg[1], api_url = arg[2] })
local ready = { pollfd = job:fd(), events = "r" }
local loop, turns = cqueues.new(), 0

loop:wrap(function()
  repeat
    if turns > 0 then cqueues.poll(ready) end
    turns = turns + 1
    -- The last step closes the descriptor: cqueues has to forget it before its number is given to another file.
    cqueues.cancel(ready.pollfd)
  until not job:step()
  local report = job:report()
  print(("%s: %d of %d succeeded, %d requests in %d turns"):format(
    report.reason, report.succeeded, report.total, report.sends, turns))
end)

loop:wrap(function()
  while not job:report() do
    cqueues.sleep(0.2)
    print(job:snapshot().done .. " done")
  end
end)

assert(loop:loop())
