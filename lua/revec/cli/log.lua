--- Log lines, as the guide has them (time - name - level - message) or as JSON, on a file that may be a terminal with a
-- progress bar on its last line. Lines are gathered and written together: flush() once a turn.

local cjson = require "cjson.safe"
local core = require "revec.core"

local Log = {}
Log.__index = Log

--- @param options file, format ("text", "json"), least ("DEBUG", "INFO", "WARNING": the lowest level that is shown)
local function new(options)
  return setmetatable({
    file = options.file,
    format = options.format,
    rank = Log.ranks[options.least],
    lines = {},
    bar = "",    -- the text on the last line now
    width = nil, -- of the terminal when it was drawn
  }, Log)
end

Log.ranks = { DEBUG = 1, INFO = 2, WARNING = 3, ERROR = 4, RESULT = 5 }

-- Lines of one second share their time.
function Log:time(format)
  local now = os.time()
  if now ~= self.second then self.second, self.stamp = now, os.date(format, now) end
  return self.stamp
end

function Log:json(level, event, message)
  local text = cjson.encode(message):gsub("\\/", "/")
  return string.format('{"time":"%s","name":"revec","level":"%s","event":"%s","message":%s}\n',
    self:time("!%Y-%m-%dT%H:%M:%SZ"), level, event, text)
end

--- Adds a line. message is made printable: it may hold any bytes. A RESULT is an INFO that is always shown.
function Log:add(level, event, message)
  if self.ranks[level] < self.rank then return end
  message = core.clean(message)
  if level == "RESULT" then level = "INFO" end
  self.lines[#self.lines + 1] = self.format == "json" and self:json(level, event, message)
    or self:time("%Y-%m-%d %H:%M:%S") .. " - revec - " .. level .. " - " .. message .. "\n"
end

--- Whether add would show a line of this level.
function Log:shows(level)
  return self.ranks[level] >= self.rank
end

-- What takes the cursor to the beginning of the bar and removes it, also after the terminal has become narrower and has
-- wrapped it.
function Log:erase(width)
  if self.bar == "" then return "" end
  local _, columns = core.fit(self.bar)
  local rows = width < self.width and math.ceil(columns / width) - 1 or 0
  -- Of one row only the row: tmux keeps in its history what is cleared to the end of the screen.
  return rows > 0 and "\r\27[" .. rows .. "A\27[J" or "\r\27[K"
end

--- Writes what was added. bar: a function of the terminal's width that gives the bar's text, nil for no bar.
-- All goes out in one write, so that nothing flickers.
function Log:flush(bar)
  local text = table.concat(self.lines)
  self.lines = {}
  local width = (bar or self.bar ~= "") and core.columns(self.file)
  if width then
    local drawn = bar and bar(width) or ""
    if drawn == self.bar and text == "" and width == self.width then return end
    text = (text ~= "" or drawn == "" or width ~= self.width) and self:erase(width) .. text or "\r"
    text = text .. drawn .. (drawn ~= "" and "\27[K" or "")
    self.bar, self.width = drawn, width
  end
  if text ~= "" then
    self.file:write(text)
    self.file:flush()
  end
end

return { new = new }
