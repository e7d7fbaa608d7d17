--- Turns what a job tells into log lines. Knows the job only by its events and snapshots.

local core = require "revec.core"

local Reporter = {}
Reporter.__index = Reporter

local HOLD_S = 1 -- lines that name a total wait so long for it to be known

--- @param log a log (log.lua)
-- @param say a catalogue (messages.lua)
-- @param options batch_size, storage_path, dry_run, direct, terse (no line for each image), names (there is a bar that
--   shows the last image's name), auto (how many at once was to be found out)
local function new(log, say, options)
  return setmetatable({ log = log, say = say, options = options, held = {}, started = core.now() }, Reporter)
end

-- Adds a line, or a function that makes it once the total is known.
function Reporter:line(level, event, message)
  if not self.log:shows(level) then return end
  if self.held then
    self.held[#self.held + 1] = { level, event, message }
  else
    self.log:add(level, event, type(message) == "function" and message() or message)
  end
end

--- Lets lines go that waited for the total. snapshot: the job's, now; last: whether nothing more will come.
function Reporter:release(snapshot, last)
  self.snapshot = snapshot
  if not self.held or not (snapshot.total_known or last or core.now() - self.started > HOLD_S) then return end
  local held = self.held
  self.held = nil
  for _, line in ipairs(held) do
    -- A run that ended before the total was known does not guess at it.
    if snapshot.total_known or not last or type(line[3]) ~= "function" then self:line(line[1], line[2], line[3]) end
  end
end

function Reporter:start()
  local rule = ("="):rep(60)
  self:line("INFO", "start", rule)
  self:line("INFO", "start", self.say("start"))
  self:line("INFO", "start", rule)
  self:line("INFO", "scan", self.say("scan", self.options.storage_path))
  self:line("INFO", "found", function()
    return self.say("found", self.snapshot.total) .. (self.snapshot.total_known and "" or " …")
  end)
end

-- A total that is still being counted is shown as "at least so many".
function Reporter:total(n)
  return string.format("%d%s", n, self.snapshot.total_known and "" or "+")
end

local events = {}

function events:batch(first)
  self:line("INFO", "batch", function()
    local size, total = self.options.batch_size, self.snapshot.total
    local last = math.min(first + size - 1, math.max(total, first))
    return self.say("batch", (first - 1) / size + 1, self:total(math.ceil(total / size)), first, last, self:total(total))
  end)
end

function events:image(image)
  self.last_image = image
  if not self.options.terse then self:line("INFO", "image", self.say("image", image.filename, image.id)) end
end

function events:succeeded(image)
  self:line("INFO", "succeeded", self.say("succeeded", image.id))
end

function events:skipped(image)
  self:line("INFO", "skipped", self.say("skipped", image.id))
end

function events:duplicate(image)
  self:line("WARNING", "duplicate", self.say("duplicate", image.path, image.id))
end

function events:request(image, event)
  self:line("DEBUG", "request", self.say("request", image.stage, image.id, event.kind or event.status or "ok"))
end

-- Nobody was asked about the image: its file is no use.
local own_fault = { bad_image = true, unreadable_file = true, too_large = true }

-- Why an attempt failed, as the guide's lines have it.
function Reporter:cause(image, failure)
  if failure.kind == "timeout" then
    self:line("ERROR", "timeout", self.say("timeout", image.id))
  elseif failure.kind == "not_indexed" then
    self:line("ERROR", "not_indexed", self.say("not_indexed", image.id))
  elseif failure.kind == "not_found" and not self.options.direct then
    self:line("WARNING", "not_found", self.say("not_found", image.id))
  elseif own_fault[failure.kind] and not failure.status then
    self:line("ERROR", "image", self.say("image_failed", image.id, failure.message))
  elseif failure.status then
    self:line("ERROR", "api", self.say("api_failed", string.format("%d", failure.status), failure.message))
  else
    self:line("ERROR", "api", self.say("call_failed", failure.message))
  end
end

function events:retry(image, failure)
  if failure.kind == "rate_limited" then
    -- Without a wait only fewer go at once: the limit's own search, no news.
    if failure.delay > 0 then self:line("WARNING", "throttled", self.say("throttled", failure.delay)) end
  else
    self:cause(image, failure)
  end
end

function events:failed(image, failure)
  self:cause(image, failure)
  self:line("ERROR", "failed", self.say("failed", image.id))
end

function events:denied(image, failure)
  self:cause(image, failure)
end

function events:fallback(what, why)
  self:line("WARNING", "fallback", self.say("fallback_" .. what, why))
end

function events:folder(path, why)
  self:line("WARNING", "folder", self.say("folder", path, why))
end

function events:entry(path, why)
  self:line("WARNING", "entry", self.say("entry", path, why))
end

function events:state(stats)
  if stats.state == "paused" then
    self.paused = true
    self:line("WARNING", "paused", self.say("paused", stats.reason))
  elseif self.paused and stats.state ~= "down" then
    self.paused = false
    self:line("INFO", "resumed", self.say("resumed"))
  end
end

function events:progress()
  self.progress_due = true
end

--- The progress line of a snapshot.
function Reporter:progress_text(s)
  local share = s.total_known and string.format("%.1f%%", s.total > 0 and 100 * s.done / s.total or 100) or "?"
  return self.say("progress", s.done, self:total(s.total), share, s.succeeded, s.failed, s.skipped)
end

function Reporter:progress(snapshot)
  if snapshot.done == self.progress_done then return end
  self.progress_done = snapshot.done
  self:line("INFO", "progress", self:progress_text(snapshot))
end

--- After each step of the job: progress lines that are due.
function Reporter:step(snapshot)
  self:release(snapshot)
  if not self.progress_due then return end
  self.progress_due = false
  self:progress(snapshot)
end

-- Events of each image, which are not listened to where no line comes of them.
local chatter = { batch = true, image = true, succeeded = true, skipped = true, request = true, progress = true }

--- What to give a job as on_event: functions for the events that this reporter has something to say of.
-- theirs: the user's own on_event, or nil
function Reporter:listeners(theirs)
  local listeners = {}
  for name, handler in pairs(events) do
    local wanted = not (self.options.terse and chatter[name]) or (name == "image" and self.options.names)
      or (name == "request" and self.log:shows("DEBUG"))
    if wanted then listeners[name] = function(...) handler(self, ...) end end
  end
  if not theirs then return listeners end
  return function(name, ...)
    if listeners[name] then listeners[name](...) end
    if type(theirs) == "function" then theirs(name, ...) elseif theirs[name] then theirs[name](...) end
  end
end

--- The closing lines. where: whom the job asked
function Reporter:finish(report, where)
  local say, options = self.say, self.options
  self:release(report, true)
  self.snapshot = report
  local cause = ({ down = options.direct and "why_down_direct" or "why_down", denied = "why_denied", refused = "why_refused",
                   index = "why_index" })[report.reason]
  if cause then
    self:line("ERROR", report.reason, say(cause, where, report.message))
  elseif report.reason ~= "done" and report.message then
    self:line("ERROR", report.reason, say("why_" .. report.reason, report.message))
  end
  if report.reason == "done" and report.total == 0 then
    self:line("WARNING", "empty", say("empty", options.storage_path))
  end
  if report.done > 0 then self:progress(report) end
  local rule = ("="):rep(60)
  self:line("INFO", "done", rule)
  local whole = report.reason == "done" and (report.pending == 0 or options.dry_run)
  self:line("INFO", "done", say(not whole and "cut" or options.dry_run and "dry" or "done"))
  self:line("INFO", "done", rule)
  local function result(name, value) self:line("RESULT", name, say(name, value)) end
  result("total", report.total)
  result("total_succeeded", report.succeeded)
  result("total_failed", report.failed)
  result("total_skipped", report.skipped)
  for _, name in ipairs { "pending", "filtered", "duplicates", "folders", "entries", "retries", "throttled" } do
    if report[name] > 0 then result("total_" .. name, report[name]) end
  end
  if report.records then result("total_records", report.records) end
  if report.switched then result("switched") end
  if options.auto then result("found_limit", report.limit) end
  result("seconds", report.seconds)
  result("average", report.total > 0 and report.seconds / report.total or 0)
  if report.record then result("record", report.record) end
end

return { new = new }
