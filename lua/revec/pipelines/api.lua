--- The way of an image through a backend that embeds and indexes by itself: looked up, embedded, verified.
--
-- A pipeline is what a job (job.lua) has its images go through. It tells the job of each image what became of it: skip,
-- succeed, fault (a request for it has failed for good), fail, give_back. None of its calls blocks.

local backends = { api = require "revec.backends.api" }
local lookups = require "revec.lookups"
local settings = require "revec.options"
local transport = require "revec.transport"

local Pipeline = {}
Pipeline.__index = Pipeline

-- A step is over within half a millisecond or so, since a host may have other things to do.
local EVENTS_PER_STEP = 64
local MAX_CONCURRENT = 256 -- when it is found out

--- @param job its options, seen (set of ids) and outcomes are used
-- @return pipeline, whose engine walks too; or nil and one line: which option is wrong, or what of the system
local function new(job)
  local options = job.options
  local headers, why = transport.headers(options.header, options.token_env)
  if not headers then return nil, why end
  local backend = backends.api.new(options)
  local adaptive = options.max_concurrent == "auto"
  local engine
  engine, why = transport.engine(options, {
    probe_url = backend.probe_url, headers = headers, adaptive = adaptive,
    max_concurrent = adaptive and MAX_CONCURRENT or options.max_concurrent,
  })
  if not engine then return nil, why end
  local routes = {}
  for name, route in pairs(backend.routes) do routes[name] = engine:route(route) end
  return setmetatable({
    job = job, options = options, backend = backend, engine = engine, routes = routes,
    lookups = lookups.new(engine, backend, routes, options, job.seen),
    looks_up = not (options.force_reindex or options.no_skip_indexed),
  }, Pipeline)
end

-- ---- images on their way in ----

-- Whether what is indexed is being listed, or should be: no image is taken meanwhile.
function Pipeline:lists()
  local job = self.job
  if not self.looks_up or job.stopping or job.walked then return false end
  if self.lookups:list_is_due(job.counts.taken, (job:total())) then
    self.lookups:flush("lookup")
    self.lookups:ask_page()
  end
  return self.lookups.listing ~= nil
end

--- How many images are worth beginning now.
function Pipeline:room()
  return self:lists() and 0 or self.engine:room()
end

-- Whether the image may have been embedded all the same, as the core judges it before it sends a request again.
local function may_have_landed(failure)
  local kind = failure.kind
  return kind == "timeout" or kind == "cut_short" or (kind == "bad_answer" and not failure.status)
end

--- Asks the backend for what the image's stage says; true when that took a request.
-- @param failure of an image that a hook has tried again; nil otherwise
function Pipeline:submit(image, failure)
  if failure and may_have_landed(failure) and image.stage == "embed" and self.looks_up then
    image.stage, image.embedded_again = "verify", nil
  end
  if image.stage ~= "embed" then return self.lookups:ask(image) end
  local engine, routes, backend = self.engine, self.routes, self.backend
  local known, tags = self.job:tags(image)
  if not known then return false end
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

--- An image begins its way; true when that took up room.
function Pipeline:begin(image)
  if self.lookups.complete and self.lookups:is_listed(image.id) then
    self.job:skip(image)
    return false
  end
  image.stage = self.looks_up and not self.lookups.complete and "lookup" or "embed"
  return self:submit(image)
end

--- There is nothing more to fill a look-up's group with for now.
function Pipeline:flush()
  self.lookups:flush("lookup")
end

-- ---- answers ----

-- What failed, as hooks and the record see it.
function Pipeline:failure(event)
  return { kind = event.kind, status = event.status, message = self.backend.reason(event), attempts = event.attempts,
           sends = event.sends, lost = self.backend.is_lost(event) }
end

local not_indexed = { kind = "not_indexed", status = 404, attempts = 1,
                      message = "the backend answered success, but the image is not indexed" }

-- A good answer: on to the image's next stage, or to its end.
-- indexed: what a look-up said
function Pipeline:advance(image, event, indexed)
  local job, stage = self.job, image.stage
  if stage == "lookup" and indexed then return job:skip(image) end
  if stage == "embed" and (event.landed or not self.options.verify) or indexed then
    return job:succeed(image, image.answer or event.fields or {})
  end
  if stage == "verify" and image.embedded_again then return job:fail(image, not_indexed) end
  if job.stopping then return job:give_back() end
  if stage == "embed" then
    image.stage, image.answer = "verify", event.fields
  else
    image.stage, image.embedded_again = "embed", stage == "verify"
  end
  self:submit(image)
end

-- The answer for several images at once.
function Pipeline:answer_group(group, event)
  local job = self.job
  if event.kind == "pending" then
    job:give_back(#group.images)
  elseif event.kind then
    if event.kind == "denied" and not job.judge.accepted then job:stop("denied", self.backend.reason(event)) end
    if self.lookups:split(group, event) then job:tell("fallback", "groups", self.backend.reason(event)) end
  else
    local is_indexed = self.lookups:answered(event)
    job.judge:accept()
    for _, image in ipairs(group.images) do
      if job.aborted then break end
      self:advance(image, event, is_indexed(image))
    end
  end
end

function Pipeline:answer_page(event)
  local job = self.job
  if event.kind == "pending" then return end
  if not event.kind then job.judge:accept() end
  local why = self.lookups:turn_page(event, (job:total()))
  if not why then return end
  if self.options.check == "list" then
    job:stop(event.kind == "denied" and "denied" or "refused", "the list of what is indexed: " .. why)
  else
    job:tell("fallback", "list", why)
  end
end

function Pipeline:answer(event)
  local job, image, kind = self.job, event.item, event.kind
  job:tell("request", image, event)
  if event.retry_in then
    job:tell("retry", image, { kind = kind, status = event.status, message = self.backend.reason(event),
                               attempts = event.attempts, delay = event.retry_in })
    return
  end
  if image.stage == "group" then return self:answer_group(image, event) end
  if image.stage == "list" then return self:answer_page(event) end
  image.sends = image.sends + event.sends
  if kind == "pending" then
    job:give_back()
  elseif kind then
    job:fault(image, self:failure(event))
  else
    job.judge:accept()
    self:advance(image, event, image.stage ~= "embed" and self.backend.is_indexed(event))
  end
end

-- ---- the job's side ----

--- Takes what has been answered; true when anything was.
function Pipeline:poll()
  local events = self.engine:poll(EVENTS_PER_STEP)
  for i = 1, #events do self:answer(events[i]) end
  return #events > 0
end

--- What was embedded is looked up group by group; when nothing else is under way, no group will fill.
function Pipeline:settle()
  local gathered = self.lookups:gathered("verify")
  if gathered > 0 and gathered == self.job.open then self.lookups:flush("verify") end
end

--- Where the backend stands: as engine:stats.
function Pipeline:stats()
  return self.engine:stats()
end

--- No further image will begin; what is in flight ends.
function Pipeline:drain()
  self.engine:drain()
end

--- Whether there is nothing left to do once every image has its end.
function Pipeline.concluded()
  return true
end

--- Whom it asks, without credentials.
function Pipeline:where()
  return settings.redact(self.options.api_url)
end

--- A URL of each service that it asks.
function Pipeline:urls()
  return { self.backend.probe_url }
end

--- Ends everything; gives how often anything was sent.
function Pipeline:close()
  return self.engine:close()
end

return { new = new }
