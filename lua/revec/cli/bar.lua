--- The progress bar's text for a terminal of any width.

local core = require "revec.core"

local Bar = {}
Bar.__index = Bar

local WINDOW_S = 5 -- the rate is that of so many last seconds

--- @param say a catalogue (messages.lua)
local function new(say)
  return setmetatable({ say = say, samples = {} }, Bar)
end

--- Images per second over the last seconds; called with each snapshot.
function Bar:rate(snapshot)
  local samples = self.samples
  local last = samples[#samples]
  if not last or snapshot.seconds - last.seconds >= 0.1 then
    samples[#samples + 1] = { seconds = snapshot.seconds, done = snapshot.done }
  end
  while #samples > 2 and samples[2].seconds < snapshot.seconds - WINDOW_S do table.remove(samples, 1) end
  local elapsed = snapshot.seconds - samples[1].seconds
  if elapsed <= 0 then return 0 end
  return (snapshot.done - samples[1].done) / elapsed
end

local function clock(seconds)
  seconds = math.floor(seconds + 0.5)
  local hours, minutes = math.floor(seconds / 3600), math.floor(seconds / 60) % 60
  if hours > 99 then return ">99h" end
  return hours > 0 and string.format("%d:%02d:%02d", hours, minutes, seconds % 60)
    or string.format("%d:%02d", minutes, seconds % 60)
end

local function blocks(share, width)
  local full = math.floor(share * width + 0.5)
  return "[" .. ("#"):rep(full) .. ("-"):rep(width - full) .. "] "
end

--- The text: what matters most first, the rest as far as it fits; never as wide as the terminal, which would wrap.
-- @param width columns of the terminal
-- @param name the file that was last in hand, or nil
function Bar:text(snapshot, width, name)
  local say, total = self.say, snapshot.total
  local share = total > 0 and snapshot.done / total or 0
  local rate = self:rate(snapshot)
  local parts = {
    string.format("%d/%d%s", snapshot.done, total, snapshot.total_known and string.format(" %d%%", math.floor(share * 100)) or "+"),
  }
  if snapshot.state == "paused" or snapshot.state == "throttled" then parts[#parts + 1] = say("bar_" .. snapshot.state) end
  parts[#parts + 1] = say("bar_rate", rate)
  if snapshot.total_known and rate > 0 then parts[#parts + 1] = say("bar_eta", clock((total - snapshot.done) / rate)) end
  if snapshot.failed > 0 then parts[#parts + 1] = say("bar_failed", snapshot.failed) end
  if snapshot.active then parts[#parts + 1] = string.format("%d/%d", snapshot.active, snapshot.limit) end
  if snapshot.retries > 0 then parts[#parts + 1] = say("bar_retries", snapshot.retries) end
  local text, columns, room = nil, 0, width - 1
  for _, part in ipairs(parts) do
    local longer = text and text .. " | " .. part or part
    local _, needed = core.fit(longer)
    if needed > room then break end
    text, columns = longer, needed
  end
  if not text then return (core.fit(parts[1], room)) end
  local left = room - columns
  if left >= 14 then
    local bar_width = math.min(30, left - 3)
    text = blocks(snapshot.total_known and share or 0, bar_width) .. text
    left = left - bar_width - 3
  end
  if name and left >= 12 then text = text .. " | " .. core.fit(core.clean(name), left - 3) end
  return text
end

return { new = new }
