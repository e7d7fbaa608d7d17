--- A rebuild in progress: takes images from the walk, has the backend asked about each, tells hooks what became of it.
--
-- A host drives it: step() does what can be done now and may wait; nothing happens in between but what the engine's
-- threads do. Every image ends in exactly one outcome (doc/design.md), and the counts of report() always add up.

local core = require "revec.core"
local images = require "revec.image"
local judges = require "revec.judge"
local pipelines = { api = require "revec.pipelines.api", direct = require "revec.pipelines.direct" }
local records = require "revec.record"
local settings = require "revec.options"
local sources = require "revec.sources"
local transport = require "revec.transport"

local Job = {}
Job.__index = Job

local IMAGES_PER_STEP = 128 -- so that a step is over within half a millisecond or so: a host may have other things to do

--- @param options as options.resolve gives them
-- @return job, or nil and one line that says why it cannot start
local function new(options)
  local why = settings.conflict(options)
  if why then return nil, why end
  local root = options.storage_path
  local self = setmetatable({
    options = options,
    root = root:sub(-1) == "/" and root or root .. "/",
    seen = core.idset(),
    started = core.now(),
    counts = { taken = 0, succeeded = 0, failed = 0, flawed = 0, skipped = 0, filtered = 0, duplicates = 0, folders = 0,
               entries = 0, elsewhere = 0 },
    open = 0, -- images whose requests are under way
    state = "starting",
    judge = judges.new(options.max_failures),
  }, Job)
  self.pipeline, why = pipelines[options.direct and "direct" or "api"].new(self)
  if not self.pipeline then return nil, why end
  self.engine = self.pipeline.engine
  self.source, why = sources.open(self.engine, options, self.root)
  if self.source and not options.dry_run then
    self.repaired = records.repair(options.failed_dir)
    self.record, why = records.open(options.failed_dir)
    if not self.record then why = "failed_dir: " .. core.clean(why) end
  end
  if why then
    self.pipeline:close()
    return nil, why
  end
  return self
end

-- Calls a function of the user's; an error in it ends the run, naming hook, file and line.
function Job:call(name, hook, ...)
  local ok, result = pcall(hook, ...)
  if ok then return result end
  local public = { make_id = "id", make_tags = "tags" }
  self:stop("hook", (public[name] or name) .. ": " .. core.clean(tostring(result)))
end

function Job:hook(name, ...)
  local hook = self.options[name]
  if hook then return self:call(name, hook, ...) end
end

-- Tells an event to whoever listens to it: most are told once an image or more often.
function Job:tell(name, ...)
  local listener = self.options.on_event
  if type(listener) == "function" then
    self:call("on_event", listener, name, ...)
  elseif listener and listener[name] then
    self:call("on_event", listener[name], ...)
  end
end

--- Stops taking images; what is in flight ends, the rest is pending. Never blocks; may be called at any time.
-- @param reason "interrupted" (the default) or the library's own: see report
-- @param message one line for the report
function Job:stop(reason, message)
  if self.stopping or self.finished then return end
  self.stopping = reason or "interrupted"
  self.message = message
  self.pipeline:drain()
end

--- Ends at once: what is in flight is pending too. The record is still written. From within a hook: once that returns.
function Job:abort()
  self:stop()
  self.aborted = true
  if not self.stepping then self:finish() end
end

-- ---- images on their way in ----

--- The tags of an image: whether they are known (a hook may end the run), and a string, or nil for the options' own.
function Job:tags(image)
  if not self.options.make_tags then return true end
  local tags = self:hook("make_tags", image)
  if tags ~= nil and type(tags) ~= "string" then
    self:stop("hook", "tags: a string or nil expected, got " .. type(tags))
  end
  if not self.stopping then return true, tags end
  self:give_back()
  return false
end

-- Makes an image's id where it is not the stem that it has; nil, or why its file cannot be read.
function Job:identify(image)
  local how = self.options.id
  if self.options.make_id then
    image.id = self:hook("make_id", image)
    if not self.stopping and (type(image.id) ~= "string" or image.id == "") then
      self:stop("hook", "id: a string expected, not empty, got " .. (image.id == "" and "an empty one" or type(image.id)))
    end
  elseif how == "path" then
    image.id = image.relative_path
  elseif how == "sha256" then
    local hash, why = require "revec.digest".sha256_file(image.path)
    image.id = hash or image.relative_path
    return why
  end
end

-- One image of the source; true when it took a request.
function Job:take(relative_path, id, root)
  local counts, options = self.counts, self.options
  local image = images.new(root, relative_path, id)
  if options.filter and not self:hook("filter", image) then
    if not self.stopping then counts.filtered = counts.filtered + 1 end
    return false
  end
  local unreadable = self:identify(image)
  if self.stopping then return false end
  if self.source.mine and not self.source.mine(image.id) then
    counts.elsewhere = counts.elsewhere + 1
    return false
  end
  if not self.seen:add(image.id) then
    counts.duplicates = counts.duplicates + 1
    self:tell("duplicate", image)
    return false
  end
  counts.taken = counts.taken + 1
  if options.dry_run then return false end
  if (counts.taken - 1) % options.batch_size == 0 then self:tell("batch", counts.taken) end
  self:tell("image", image)
  self.open = self.open + 1
  if not unreadable then return self.pipeline:begin(image) end
  self:fail(image, { kind = "unreadable_file", message = unreadable, attempts = 0 })
  return false
end

-- Takes images while there is room for their requests; true when it took any.
function Job:intake()
  local room = self.options.dry_run and math.huge or self.pipeline:room()
  if room == 0 then return false end
  local left = IMAGES_PER_STEP
  while room > 0 and left > 0 and not self.stopping and not self.walked do
    local path, what, where, why = self.source:next()
    if path then
      if self:take(path, what, where) then room = room - 1 end
      if self.counts.taken == self.options.limit then self.walked = true end
    elseif what == "folder" then
      self.counts.folders = self.counts.folders + 1
      self:tell("folder", where, why)
    elseif what == "entry" then
      self.counts.entries = self.counts.entries + 1
      self:tell("entry", where, why)
    elseif what == "end" then
      self.walked = true
    else
      break
    end
    left = left - 1
  end
  if room > 0 then self.pipeline:flush() end
  if left == 0 then self.engine:wake() end
  return left < IMAGES_PER_STEP
end

-- ---- what becomes of them ----

function Job:progress()
  local counts = self.counts
  local done = counts.succeeded + counts.failed + counts.skipped
  if done % self.options.batch_size == 0 then self:tell("progress", done) end
end

function Job:close_image()
  self.open = self.open - 1
  self:progress()
end

--- The fate of an image, or of several, is open: the report counts them as pending.
function Job:give_back(how_many)
  self.open = self.open - (how_many or 1)
end

--- answer: what on_success is told
function Job:succeed(image, answer)
  self.judge:no_failure()
  self.counts.succeeded = self.counts.succeeded + 1
  self:tell("succeeded", image)
  self:hook("on_success", image, answer)
  self:close_image()
end

--- The image is indexed already.
function Job:skip(image)
  -- Without a stage the list has said so, which tells nothing of how the backend is now.
  if image.stage then self.judge:no_failure() end
  self.counts.skipped = self.counts.skipped + 1
  self:tell("skipped", image)
  self:hook("on_skip", image)
  self:close_image()
end

-- There may be nothing left where the images were: of a storage that is unmounted, not every image is to fail.
function Job:check_storage()
  local names, why = core.list(self.root)
  if not names then self:stop("storage", why)
  elseif #names == 0 then self:stop("storage", core.clean(self.root) .. ": nothing is left in it") end
end

local verdicts = { record = true, ignore = true, retry = true, stop = true }

--- The image has failed. cause: { kind, status, message, attempts }
function Job:fail(image, cause)
  local failure = {
    kind = cause.kind, status = cause.status, message = cause.message,
    attempts = (cause.attempts or 1) + (image.attempts or 0), sends = image.sends,
  }
  local verdict = self:hook("on_failure", image, failure)
  if verdict == nil then verdict = "record" end
  if not verdicts[verdict] then
    self:stop("hook", 'on_failure: "record", "ignore", "retry" or "stop" expected, got ' .. core.clean(tostring(verdict)))
  end
  -- One without a stage has no request that could be made again.
  if verdict == "retry" and image.stage and not self.stopping and (image.retries or 0) < self.options.max_retries then
    image.retries = (image.retries or 0) + 1
    image.attempts, failure.delay = failure.attempts, 0
    self:tell("retry", image, failure)
    return self.pipeline:submit(image, failure)
  end
  if verdict == "ignore" then
    self.counts.skipped = self.counts.skipped + 1
    self:tell("skipped", image)
  else
    self.counts.failed = self.counts.failed + 1
    if failure.kind == "unreadable_file" or failure.kind == "bad_image" then self.counts.flawed = self.counts.flawed + 1 end
    self:tell("failed", image, failure)
    local ok, why = self.record:add(image, failure)
    if not ok then self:stop("record", "the failure of " .. core.clean(image.path) .. " cannot be recorded: " .. why) end
  end
  self:close_image()
  if failure.kind == "unreadable_file" and not core.stat(image.path) and self.judge:gone() then self:check_storage() end
  if verdict == "stop" then self:stop("stopped", "on_failure said stop") end
  local counts = self.counts
  if self.judge:too_many(counts.failed, counts.succeeded + counts.failed + counts.skipped) then
    self:stop("max_failures", counts.failed .. " images failed")
  end
end

--- A request for an image has failed for good. cause: as for fail; lost: whether it says that the route does not exist
function Job:fault(image, cause)
  if cause.kind == "denied" then
    self:tell("denied", image, cause)
    if self.judge:denied() then self:stop("denied", cause.message) end
    return self:give_back()
  end
  if self.judge:failed(cause, self.counts.succeeded) then self:stop("refused", cause.message) end
  self:fail(image, cause)
end

-- What the state of whom we ask means for the run.
function Job:watch()
  local stats = self.pipeline:stats()
  if stats.state ~= self.state then
    self.state = stats.state
    self:tell("state", stats)
    if stats.state == "down" then self:stop("down", stats.reason) end
  end
end

-- ---- the host's side ----

-- What can be done without waiting; true when anything was.
function Job:turn()
  local answered = self.pipeline:poll()
  self:watch()
  local took = self:intake()
  self.pipeline:settle()
  return took or answered
end

--- Does what can be done now; when there is nothing, waits for something to do, but no longer than seconds.
-- @param seconds 0 (the default) never blocks
-- @return true while the job goes on, false once it is finished
function Job:step(seconds)
  if self.finished then return false end
  if self.stepping then error("revec: step called from within a hook of the same job", 2) end
  self.stepping = true
  if not self:turn() and (seconds or 0) > 0 and not self:is_over() then
    self.engine:wait(seconds)
    self:turn()
  end
  local now = core.now()
  if self.options.on_progress and now - (self.progress_told or 0) >= 0.1 then
    self.progress_told = now
    self:hook("on_progress", self:snapshot())
  end
  self.stepping = false
  if self:is_over() then self:finish() end
  return not self.finished
end

function Job:is_over()
  return self.aborted or self.open == 0 and (self.walked or self.stopping) and self.pipeline:concluded() and true or false
end

--- A descriptor that becomes readable when step has something to do; for event loops. Not to be read or closed.
function Job:fd()
  return self.engine:fd()
end

--- The same by way of a Unix socket at path, for a host that can only connect to one: after that and the next step, a byte
-- arrives with each ring. The path is the caller's to remove.
-- @return true, or nil and why it cannot be made
function Job:doorbell(path)
  return self.engine:doorbell(path)
end

--- Whom the job asks, without credentials: one line.
function Job:where()
  return self.pipeline:where()
end

--- The proxies through which it asks, without credentials: array of strings.
function Job:proxies()
  local found, seen = {}, {}
  for _, url in ipairs(self.pipeline:urls()) do
    local proxy = transport.proxy(self.options, url)
    if proxy and not seen[proxy] then found[#found + 1] = proxy end
    seen[proxy or ""] = true
  end
  return found
end

-- How many images there are as far as is known, less what stands outside the total; and whether that is final.
function Job:total()
  local counts = self.counts
  if self.walked then return counts.taken, true end
  local found, known = self.source:total()
  local total = math.max(found - counts.filtered - counts.duplicates - counts.elsewhere, counts.taken)
  return math.min(total, self.options.limit or math.huge), known
end

--- Where the job stands: a new table of numbers.
function Job:snapshot()
  if self.finished then return self.final end
  local counts = self.counts
  local stats = self.pipeline:stats()
  local total, known = self:total()
  local _, _, left_out = self.source:total()
  return {
    total = total, total_known = known,
    done = counts.succeeded + counts.failed + counts.skipped,
    succeeded = counts.succeeded, failed = counts.failed, skipped = counts.skipped, filtered = counts.filtered + left_out,
    duplicates = counts.duplicates, folders = counts.folders, entries = counts.entries, open = self.open,
    active = stats.active, limit = stats.limit, state = stats.state, reason = stats.reason, resume_in = stats.resume_in,
    sends = stats.sends, retries = stats.retries, throttled = stats.throttled,
    seconds = core.now() - self.started,
  }
end

function Job:finish()
  if self.finished then return end
  local report = self:snapshot()
  self.finished = true
  report.sends = self.pipeline:close()
  report.pending = report.total - report.done
  report.reason = self.stopping or "done"
  report.message = self.message
  report.switched, report.records = self.pipeline.switched, self.pipeline.records
  report.active, report.open, report.resume_in = nil, nil, nil
  if self.record then
    local why
    report.record, why = self.record:close()
    if why then report.reason, report.message = "record", "the record cannot be written: " .. why end
  end
  self.final = report
  for _, name in ipairs { "on_progress", "on_done" } do
    if self.options[name] then
      local ok, why = pcall(self.options[name], report)
      if not ok then report.reason, report.message = "hook", name .. ": " .. core.clean(tostring(why)) end
    end
  end
end

--- What came of the job: nil until it is finished. doc/library.md lists the fields.
function Job:report()
  return self.final
end

return { new = new }
