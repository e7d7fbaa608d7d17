--- A rebuild in progress: takes images from the walk, has the backend asked about each, tells hooks what became of it.
--
-- A host drives it: step() does what can be done now and may wait; nothing happens in between but what the engine's
-- threads do. Every image ends in exactly one outcome (doc/design.md), and the counts of report() always add up.

local backends = { api = require "revec.backends.api" }
local core = require "revec.core"
local images = require "revec.image"
local judges = require "revec.judge"
local lookups = require "revec.lookups"
local records = require "revec.record"
local sources = require "revec.sources"

local Job = {}
Job.__index = Job

-- A step is over within half a millisecond or so, since a host may have other things to do.
local EVENTS_PER_STEP = 64
local IMAGES_PER_STEP = 128
local MAX_CONCURRENT = 256 -- when it is found out

-- The request headers of all requests; or nil and why there are none.
local function headers_of(options)
  local headers = {}
  for i, header in ipairs(options.header or {}) do
    if not header:find("^[%w!#$%%&'*+.^_`|~-]+:") then
      -- Not shown: it may be a token that was meant to have a name before it.
      return nil, "header: 'Name: value' expected in header " .. i
    end
    headers[i] = header
  end
  if not options.token_env then return headers end
  local token = os.getenv(options.token_env)
  if not token or token == "" then
    return nil, "token_env: the environment variable " .. options.token_env .. " is not set"
  elseif token:find("%c") then
    return nil, "token_env: the value of " .. options.token_env .. " holds a control character"
  end
  headers[#headers + 1] = "Authorization: Bearer " .. token
  return headers
end

-- Fills self.engine, self.routes and self.source; true, or nil and why not.
function Job:open_engine(headers)
  local options, backend = self.options, self.backend
  local adaptive = options.max_concurrent == "auto"
  local why
  self.engine, why = core.engine {
    max_concurrent = adaptive and MAX_CONCURRENT or options.max_concurrent, adaptive = adaptive,
    max_retries = options.max_retries, retry_delay = options.retry_delay,
    timeout = options.timeout, connect_timeout = options.connect_timeout, down_timeout = options.down_timeout,
    rate = options.rate, headers = headers, probe_url = backend.probe_url, user_agent = "revec/" .. core.version,
    cacert = options.cacert, cert = options.cert, key = options.key, insecure = options.insecure,
    proxy = options.proxy, unix_socket = options.unix_socket, http2 = options.http2, nice = options.nice,
  }
  if not self.engine then return nil, why end
  self.routes = {}
  for name, route in pairs(backend.routes) do self.routes[name] = self.engine:route(route) end
  self.lookups = lookups.new(self.engine, backend, self.routes, options, self.seen)
  self.source, why = sources.open(self.engine, options, self.root)
  if self.source then return true end
  self.engine:close()
  return nil, why
end

--- @param options as options.resolve gives them
-- @return job, or nil and one line that says why it cannot start
local function new(options)
  local headers, why = headers_of(options)
  if not headers then return nil, why end
  for _, name in ipairs { "cacert", "cert", "key", "unix_socket" } do
    local there = not options[name] or core.stat(options[name])
    if not there then return nil, name .. ": " .. core.clean(options[name]) .. ": no such file" end
  end
  local root = options.storage_path
  local self = setmetatable({
    options = options,
    backend = backends.api.new(options),
    root = root:sub(-1) == "/" and root or root .. "/",
    seen = core.idset(),
    started = core.now(),
    counts = { taken = 0, succeeded = 0, failed = 0, skipped = 0, filtered = 0, duplicates = 0, folders = 0,
               entries = 0, elsewhere = 0 },
    open = 0, -- images whose requests are under way
    state = "starting",
    looks_up = not (options.force_reindex or options.no_skip_indexed),
  }, Job)
  self.judge = judges.new(self.backend, options.max_failures)
  local opened
  opened, why = self:open_engine(headers)
  if not opened then return nil, why end
  if not options.dry_run then
    self.repaired = records.repair(options.failed_dir)
    self.record, why = records.open(options.failed_dir)
    if not self.record then
      self.engine:close()
      return nil, "failed_dir: " .. core.clean(why)
    end
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
  self.engine:drain()
end

--- Ends at once: what is in flight is pending too. The record is still written. From within a hook: once that returns.
function Job:abort()
  self:stop()
  self.aborted = true
  if not self.stepping then self:finish() end
end

-- ---- images on their way in ----

-- Asks the backend for what the image's stage says; true when that took a request.
function Job:submit(image)
  if image.stage ~= "embed" then return self.lookups:ask(image) end
  local engine, routes, backend = self.engine, self.routes, self.backend
  local tags
  if self.options.make_tags then
    tags = self:hook("make_tags", image)
    if tags ~= nil and type(tags) ~= "string" then
      self:stop("hook", "tags: a string or nil expected, got " .. type(tags))
    end
    if self.stopping then
      self:give_back()
      return false
    end
  end
  local url = backend:embed_url(image, tags)
  if self.looks_up then
    -- It goes before images that were not looked up yet: the fewer are under way, the better. And what may have been
    -- embedded all the same, after a timeout, is looked up before it is embedded again.
    engine:submit(routes.embed, url, image, true, routes.lookup, backend:lookup_url(image))
  else
    engine:submit(routes.embed, url, image)
  end
  return true
end

-- One image of the source; true when it took a request.
function Job:take(relative_path, id, root)
  local counts, options = self.counts, self.options
  local image = images.new(root, relative_path, id)
  if options.filter and not self:hook("filter", image) then
    if not self.stopping then counts.filtered = counts.filtered + 1 end
    return false
  end
  if options.make_id then
    image.id = self:hook("make_id", image)
    if not self.stopping and (type(image.id) ~= "string" or image.id == "") then
      self:stop("hook", "id: a string expected, not empty, got " .. (image.id == "" and "an empty one" or type(image.id)))
    end
    if self.stopping then return false end
  end
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
  if self.lookups.complete and self.lookups:is_listed(image.id) then
    self:skip(image)
    return false
  end
  image.stage = self.looks_up and not self.lookups.complete and "lookup" or "embed"
  return self:submit(image)
end

-- Whether what is indexed is being listed, or should be: no image is taken meanwhile.
function Job:lists()
  if not self.looks_up or self.options.dry_run or self.stopping or self.walked then return false end
  if self.lookups:list_is_due(self.counts.taken, (self:total())) then
    self.lookups:flush("lookup")
    self.lookups:ask_page()
  end
  return self.lookups.listing ~= nil
end

-- Takes images while there is room for their requests; true when it took any.
function Job:intake()
  if self:lists() then return false end
  local room = self.options.dry_run and math.huge or self.engine:room()
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
  if room > 0 then self.lookups:flush("lookup") end -- there is nothing more to fill the group with
  if left == 0 then self.engine:wake() end
  return left < IMAGES_PER_STEP
end

-- ---- answers ----

function Job:progress()
  local counts = self.counts
  local done = counts.succeeded + counts.failed + counts.skipped
  if done % self.options.batch_size == 0 then self:tell("progress", done) end
end

function Job:close_image()
  self.open = self.open - 1
  self:progress()
end

-- Its fate is open: the report counts it as pending.
function Job:give_back()
  self.open = self.open - 1
end

function Job:succeed(image, event)
  self.judge:no_failure()
  self.counts.succeeded = self.counts.succeeded + 1
  self:tell("succeeded", image)
  if self.options.on_success then self:hook("on_success", image, image.answer or event.fields or {}) end
  self:close_image()
end

function Job:skip(image)
  -- Without a stage the list has said so, which tells nothing of how the backend is now.
  if image.stage then self.judge:no_failure() end
  self.counts.skipped = self.counts.skipped + 1
  self:tell("skipped", image)
  self:hook("on_skip", image)
  self:close_image()
end

local verdicts = { record = true, ignore = true, retry = true, stop = true }

function Job:fail(image, event)
  local failure = {
    kind = event.kind, status = event.status, message = self.backend.reason(event),
    attempts = event.attempts + (image.attempts or 0), sends = image.sends,
  }
  local verdict = self:hook("on_failure", image, failure)
  if verdict == nil then verdict = "record" end
  if not verdicts[verdict] then
    self:stop("hook", 'on_failure: "record", "ignore", "retry" or "stop" expected, got ' .. core.clean(tostring(verdict)))
  end
  if verdict == "retry" and not self.stopping and (image.retries or 0) < self.options.max_retries then
    image.retries = (image.retries or 0) + 1
    image.attempts, failure.delay = failure.attempts, 0
    self:tell("retry", image, failure)
    return self:submit(image)
  end
  if verdict == "ignore" then
    self.counts.skipped = self.counts.skipped + 1
    self:tell("skipped", image)
  else
    self.counts.failed = self.counts.failed + 1
    self:tell("failed", image, failure)
    local ok, why = self.record:add(image, failure)
    if not ok then self:stop("record", "the failure of " .. core.clean(image.path) .. " cannot be recorded: " .. why) end
  end
  self:close_image()
  if verdict == "stop" then self:stop("stopped", "on_failure said stop") end
  local counts = self.counts
  if self.judge:too_many(counts.failed, counts.succeeded + counts.failed + counts.skipped) then
    self:stop("max_failures", counts.failed .. " images failed")
  end
end

-- A request for an image has failed for good.
function Job:answer_failure(image, event)
  if event.kind == "denied" then
    self:tell("denied", image, { kind = event.kind, status = event.status, message = self.backend.reason(event) })
    if self.judge:denied() then self:stop("denied", self.backend.reason(event)) end
    return self:give_back()
  end
  if self.judge:failed(event, self.counts.succeeded) then self:stop("refused", self.backend.reason(event)) end
  self:fail(image, event)
end

local not_indexed = { kind = "not_indexed", status = 404, attempts = 1,
                      message = "the backend answered success, but the image is not indexed" }

-- A good answer: on to the image's next stage, or to its end.
-- indexed: what a look-up said
function Job:advance(image, event, indexed)
  local stage = image.stage
  if stage == "lookup" and indexed then return self:skip(image) end
  if stage == "embed" and (event.landed or not self.options.verify) or indexed then return self:succeed(image, event) end
  if stage == "verify" and image.embedded_again then return self:fail(image, not_indexed) end
  if self.stopping then return self:give_back() end
  if stage == "embed" then
    image.stage, image.answer = "verify", event.fields
  else
    image.stage, image.embedded_again = "embed", stage == "verify"
  end
  self:submit(image)
end

-- The answer for several images at once.
function Job:answer_group(group, event)
  if event.kind == "pending" then
    self.open = self.open - #group.images
  elseif event.kind then
    if event.kind == "denied" and not self.judge.accepted then self:stop("denied", self.backend.reason(event)) end
    if self.lookups:split(group, event) then self:tell("fallback", "groups", self.backend.reason(event)) end
  else
    local is_indexed = self.lookups:answered(event)
    self.judge:accept()
    for _, image in ipairs(group.images) do
      if self.aborted then break end
      self:advance(image, event, is_indexed(image))
    end
  end
end

function Job:answer_page(event)
  if event.kind == "pending" then return end
  if not event.kind then self.judge:accept() end
  local why = self.lookups:turn_page(event, (self:total()))
  if not why then return end
  if self.options.check == "list" then
    self:stop(event.kind == "denied" and "denied" or "refused", "the list of what is indexed: " .. why)
  else
    self:tell("fallback", "list", why)
  end
end

function Job:answer(event)
  local image, kind = event.item, event.kind
  self:tell("request", image, event)
  if event.retry_in then
    self:tell("retry", image, { kind = kind, status = event.status, message = self.backend.reason(event),
                                attempts = event.attempts, delay = event.retry_in })
    return
  end
  if image.stage == "group" then return self:answer_group(image, event) end
  if image.stage == "list" then return self:answer_page(event) end
  image.sends = image.sends + event.sends
  if kind == "pending" then
    self:give_back()
  elseif kind then
    self:answer_failure(image, event)
  else
    self.judge:accept()
    self:advance(image, event, image.stage ~= "embed" and self.backend.is_indexed(event))
  end
end

-- What the engine's state means for the run.
function Job:watch()
  local stats = self.engine:stats()
  if stats.state ~= self.state then
    self.state = stats.state
    self:tell("state", stats)
    if stats.state == "down" then self:stop("down", stats.reason) end
  end
end

-- ---- the host's side ----

-- What can be done without waiting; true when anything was.
function Job:turn()
  local events = self.engine:poll(EVENTS_PER_STEP)
  for i = 1, #events do self:answer(events[i]) end
  self:watch()
  local took = self:intake()
  -- What was embedded is looked up group by group; when nothing else is under way, no group will fill.
  local gathered = self.lookups:gathered("verify")
  if gathered > 0 and gathered == self.open then self.lookups:flush("verify") end
  return took or #events > 0
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
  return self.aborted or self.open == 0 and (self.walked or self.stopping) and true or false
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
  local stats = self.engine:stats()
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
  report.sends = self.engine:close()
  report.pending = report.total - report.done
  report.reason = self.stopping or "done"
  report.message = self.message
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
