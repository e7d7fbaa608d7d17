--- The way of an image straight through an embedding service and a vector database: looked up, embedded, stored, verified.
--
-- Images go through four stages, each of which takes several at once: they are gathered until a group is full, or until
-- nothing else is under way. A group that fails is done again one by one, so that one image does not sink the rest.
-- How a service is asked stands in its adapter (doc/adapters.md); what a pipeline is, in pipelines/api.lua.

local adapters = require "revec.adapters"
local common = require "revec.adapters.common"
local core = require "revec.core"
local services = require "revec.services"

local Pipeline = {}
Pipeline.__index = Pipeline

local STAGES = { "lookup", "embed", "put", "verify" }
local INDEX_CONCURRENT = 4       -- calls of the index in flight: each is for many images
local RECORD_BYTES = 1000        -- of a record beside its vector
local NUMBER_BYTES = 22          -- of a vector's number in JSON
local SAME = 0.9999              -- a cosine of vectors that are one and the same

--- @param job see pipelines/api.lua
-- @return pipeline; or nil and one line: which option is wrong, or what of the system
local function new(job)
  local options = job.options
  local embedder, index, engine, why
  embedder, why = adapters.embedder(options)
  if not embedder then return nil, why end
  index, why = adapters.index(options)
  if not index then return nil, why end
  if options.swap and not index.swaps then return nil, "swap: " .. index.no_swap end
  -- It walks and is waited on, but asks nobody.
  engine, why = core.engine { probe_url = "http://localhost", nice = options.nice }
  if not engine then return nil, why end
  local most = options.max_concurrent
  local self = setmetatable({
    job = job, options = options, engine = engine,
    looks_up = not (options.force_reindex or options.no_skip_indexed or options.recreate),
    groups = { lookup = {}, embed = {}, put = {}, verify = {} },
    held = 0,        -- images whose vectors are here
    stored = 0,      -- images
    samples = {},    -- records by whose vectors a new index is tried
    window = 0,      -- most images under way: what keeps every stage supplied
    dimension = embedder.dimension,
    fits = false,    -- whether a vector has had that dimension
    ready = false,   -- the index has been looked at
    created = nil,   -- whether there is a collection to put records into; nil: not yet
  }, Pipeline)
  self.embedder, why = services.open(embedder, options, most, engine)
  if self.embedder then
    self.index, why = services.open(index, options, most == "auto" and INDEX_CONCURRENT or math.min(most, INDEX_CONCURRENT), engine)
  end
  if why then
    self:close()
    return nil, why
  end
  local at_once = math.min(options.batch_size, index.max_records or math.huge)
  self.size = { lookup = at_once, verify = at_once, put = at_once, embed = embedder.per_request or 1 }
  self.window = 2 * (most == "auto" and 64 or most) * self.size.embed + (self.looks_up and 3 or 2) * at_once
  return self
end

-- ---- conversations ----

-- A conversation about some images; done gets the body's results. A failure of the adapter's own code ends the run.
function Pipeline:talk(service, stage, images, body, done)
  local talk = { stage = stage, id = #images == 0 and stage or images[1].id .. (#images > 1 and " …" or ""), urgent = stage ~= "lookup" }
  service:start(talk, body, function(result, failure)
    if self.job.finished then return end
    for _, image in ipairs(images) do image.sends = image.sends + talk.sends end
    if result == nil and failure and failure.kind == "hook" then
      self.job:stop("hook", (service == self.index and "index: " or "embedder: ") .. failure.message)
      failure = { kind = "pending" }
    elseif result ~= nil and service == self.embedder then -- that the index takes us says nothing of the embedder
      self.job.judge:accept()
    end
    done(result, failure)
  end)
end

-- The index cannot be used at all.
function Pipeline:refuse(failure)
  if failure.kind == "pending" then return end
  self.job:stop(failure.kind == "denied" and "denied" or "index", failure.message)
end

-- ---- the index before the first image ----

local function differs(found, expected)
  for _, name in ipairs { "model", "dimension", "distance" } do
    local a, b = found[name], expected[name]
    if a and b and a ~= b then
      return string.format("%s: the index has %s, the embedder %s: give another --index, or --recreate it", name,
        core.clean(tostring(a)), core.clean(tostring(b)))
    end
  end
end

function Pipeline:identity()
  return { model = self.embedder.adapter.model, dimension = self.dimension, distance = "cosine" }
end

-- Looks at the collection, and makes one as soon as the dimension is known. An old one that is to go stays until there is a vector
-- for the new one: an embedder that does not work costs no index.
function Pipeline:prepare()
  if self.preparing then return end
  self.preparing = true
  local options, adapter = self.options, self.index.adapter
  self:talk(self.index, "prepare", {}, function(ask)
    if options.recreate and options.swap then
      local staged, failure = adapter:stage(ask)
      return staged and {}, failure
    end
    local info, failure = adapter:info(ask)
    return not failure and { info = not options.recreate and info or nil }, failure
  end, function(found, failure)
    if not found then return self:refuse(failure) end
    self.ready = true
    if not found.info then
      self.looks_up = false
      if self.dimension and not options.recreate then self:create() end
      return
    end
    local why = differs(found.info, self:identity())
    if why then return self.job:stop("mismatch", why) end
    self.dimension = found.info.dimension or self.dimension
    self:open_collection()
  end)
end

-- There is a collection, of vectors of a known dimension: as many go into one call as it takes bytes.
function Pipeline:open_collection()
  self.created = true
  local most = self.index.adapter.max_bytes
  if most and self.dimension then
    most = math.floor(most / (NUMBER_BYTES * self.dimension + RECORD_BYTES))
    self.size.put = math.max(1, math.min(self.size.put, most))
  end
  while #self.groups.put >= self.size.put do self:send_group("put") end
end

-- The collection, once the dimension is known; where an old one is to be dropped, in its place.
function Pipeline:create()
  if self.creating then return end
  self.creating = true
  local options, adapter = self.options, self.index.adapter
  self:talk(self.index, "create", {}, function(ask)
    if options.recreate and not options.swap then
      local dropped, failure = adapter:drop(ask)
      if not dropped then return nil, failure end
    end
    local created, failure = adapter:create(ask, self:identity())
    if created then return true end
    -- Another run may just have made it.
    local info = not options.swap and adapter:info(ask)
    if info and not differs(info, self:identity()) then return true end
    return nil, failure
  end, function(created, failure)
    if created then return self:open_collection() end
    self.created = false
    self:refuse(failure)
    self:give_back("put")
  end)
end

-- ---- images from stage to stage ----

--- How many images are worth beginning now.
function Pipeline:room()
  if not self.ready then self:prepare() end
  if not self.ready or self.held >= 2 * self.size.put then return 0 end
  return math.max(self.window - self.job.open, 0)
end

--- An image begins its way.
function Pipeline:begin(image)
  local why = self.index.adapter:check_id(image.id)
  if why then
    self.job:fail(image, { kind = "rejected", message = why, attempts = 0 })
    return false
  end
  image.stage = self.looks_up and "lookup" or "embed"
  return self:submit(image)
end

--- An image goes to the group of its stage.
function Pipeline:submit(image)
  local stage = image.stage
  local group = self.groups[stage]
  if stage == "put" then self.held = self.held + 1 end
  if stage == "embed" and self.embedder.adapter.max_bytes then
    local size = image.size or 0
    if #group > 0 and group.bytes + size > self.embedder.adapter.max_bytes then
      self:send_group(stage)
      group = self.groups[stage]
    end
    group.bytes = (group.bytes or 0) + size
  end
  group[#group + 1] = image
  if #group >= self.size[stage] then self:send_group(stage) end
  return true
end

-- Sends what is gathered for a stage, full or not; whether there was anything that could be sent.
function Pipeline:send_group(stage)
  local group = self.groups[stage]
  if #group == 0 or (stage == "put" and not self.created) then return false end
  local rest = {}
  -- What waited for a collection is more than goes into one call.
  for i = self.size[stage] + 1, #group do rest[#rest + 1], group[i] = group[i], nil end
  self.groups[stage] = rest
  self[stage](self, group)
  return true
end

function Pipeline:give_back(stage)
  local group = self.groups[stage]
  self.groups[stage] = {}
  self.job:give_back(#group)
end

-- A group has failed as a whole.
function Pipeline:split(stage, group, failure)
  -- Engines wait for a service that is out of reach; an index that is none has nothing to wait for.
  if failure.kind == "unreachable" then self:refuse(failure) end
  if failure.kind == "pending" or failure.kind == "unreachable" then return self.job:give_back(#group) end
  local alone = #group == 1 or failure.kind == "denied"
  for _, image in ipairs(group) do
    if self.job.aborted then return end
    if alone then self.job:fault(image, failure) else self[stage](self, { image }) end
  end
end

-- Which images are indexed: known(image, whether it is) for each.
function Pipeline:find(stage, group, known)
  local ids = {}
  for i, image in ipairs(group) do ids[i] = image.id end
  self:talk(self.index, stage, group, function(ask)
    return self.index.adapter:find(ask, ids)
  end, function(found, failure)
    if not found then return self:split(stage, group, failure) end
    for _, image in ipairs(group) do
      if self.job.aborted then return end
      known(image, found[image.id])
    end
  end)
end

function Pipeline:lookup(group)
  self:find("lookup", group, function(image, there)
    if there then
      self.job:skip(image)
    elseif self.job.stopping then
      self.job:give_back()
    else
      image.stage = "embed"
      self:submit(image)
    end
  end)
end

function Pipeline:embed(group)
  local adapter = self.embedder.adapter
  self:talk(self.embedder, "embed", group, function(ask)
    return adapter:embed(ask, group)
  end, function(vectors, why)
    if not vectors then return self:split("embed", group, why) end
    for i, image in ipairs(group) do
      if self.job.aborted then return end
      self:embedded(image, vectors[i], why)
    end
  end)
end

-- why: what is wrong where there is no vector
function Pipeline:embedded(image, vector, why)
  local dimension = vector and vector:dimension() or nil
  self.dimension = self.dimension or dimension
  if vector and not self.fits and dimension ~= self.dimension then
    self.job:stop("mismatch", differs({ dimension = self.dimension }, { dimension = dimension }))
    return self.job:give_back()
  end
  self.fits = self.fits or dimension ~= nil
  if not dimension or dimension ~= self.dimension then
    return self.job:fault(image, { kind = "bad_answer", attempts = 1, message = vector
      and string.format("a vector of %d numbers: the index has %d", dimension, self.dimension)
      or "no use as a vector: " .. (why or "none came") })
  end
  -- A run that was stopped makes no collection, as it would drop an old one for a few images.
  if self.job.stopping and not (self.created or self.creating) then return self.job:give_back() end
  if self.created == nil then self:create() end
  if self.created == false then return self.job:give_back() end
  local known, tags = self.job:tags(image)
  if not known then return end
  image.stage, image.vector, image.record_tags = "put", vector, tags or self.options.tags
  self:submit(image)
end

function Pipeline:put(group)
  local records = {}
  for i, image in ipairs(group) do
    records[i] = { id = image.id, path = image.relative_path, tags = image.record_tags, mtime = image.mtime, size = image.size,
                   vector = image.vector }
  end
  self:talk(self.index, "put", group, function(ask)
    return self.index.adapter:put(ask, records)
  end, function(bad, failure)
    local again = not bad and #group > 1 and not ({ pending = true, denied = true, unreachable = true })[failure.kind]
    if not again then self.held = self.held - #group end
    if not bad then return self:split("put", group, failure) end
    for i, image in ipairs(group) do
      if self.job.aborted then return end
      if bad[i] then self.job:fault(image, bad[i]) else self:put_done(image, records[i]) end
    end
  end)
end

function Pipeline:put_done(image, record)
  self.stored = self.stored + 1
  -- The first, the second, the fourth, the eighth …
  local sampled = self.options.swap and self.stored == 2 ^ #self.samples
  if sampled then self.samples[#self.samples + 1] = record end
  if not sampled and not self.options.on_success then image.vector:release() end
  if self.options.verify then
    image.stage = "verify"
    self:submit(image)
  else
    self:finish(image)
  end
end

function Pipeline:finish(image)
  local vector = image.vector
  image.vector = nil
  self.job:succeed(image, { vector = vector })
end

local not_indexed = { kind = "not_indexed", attempts = 1, message = "the index took the vector, but does not have it" }

function Pipeline:verify(group)
  self:find("verify", group, function(image, there)
    if there then
      self:finish(image)
    elseif image.embedded_again then
      self.job:fail(image, not_indexed)
    elseif self.job.stopping then
      self.job:give_back()
    else
      image.stage, image.embedded_again, self.stored = "embed", true, self.stored - 1
      self:submit(image)
    end
  end)
end

-- ---- once every image has its end ----

-- One line that says why the new collection should not be switched to; nil: it may be.
function Pipeline:unfit(ask)
  local counts, adapter = self.job.counts, self.index.adapter
  -- But for those that on_failure said to ignore, and those that failed by their own fault.
  local missing = counts.taken - counts.succeeded - counts.skipped - counts.flawed
  if missing > 0 then return missing .. " images are missing in the new index" end
  if self.stored == 0 then return "the new index is empty" end
  local info, failure = adapter:info(ask)
  if not info then return "the new index cannot be looked at: " .. (failure and failure.message or "it is gone") end
  local other = differs(info, self:identity())
  if other then return "the new index is that of another run: " .. other end
  local count
  count, failure = adapter:count(ask)
  if not count then return "the new index cannot be counted: " .. failure.message end
  if count ~= self.stored then return string.format("the new index has %d records, %d were put into it", count, self.stored) end
  for _, record in ipairs(self.samples) do
    local hits
    hits, failure = adapter:search(ask, record.vector, 1)
    if not hits then return "the new index cannot be searched: " .. failure.message end
    if not hits[1] or (hits[1].id ~= record.id and hits[1].score < SAME) then
      return "the new index does not find " .. core.clean(record.id) .. " by its own vector"
    end
  end
end

--- Whether there is nothing left to do once every image has its end: a new index that was built is tried and switched to, and
-- what was verified is counted.
function Pipeline:concluded()
  local options, adapter = self.options, self.index.adapter
  local swaps = options.recreate and options.swap
  if not self.concluding then
    if self.job.stopping or options.dry_run or not (swaps or options.verify) then return true end
    self.concluding = true
    self:talk(self.index, "conclude", {}, function(ask)
      if swaps then
        local why = self:unfit(ask)
        if why or self.job.stopping then return nil, { kind = "rejected", message = why or "stopped" } end
        local switched, failure = adapter:swap(ask)
        if not switched then return nil, failure end
        self.switched = true
      end
      return { count = options.verify and adapter:count(ask) or nil }
    end, function(found, failure)
      self.over = true
      if found then self.records = found.count else self.job:stop("not_switched", failure.message) end
    end)
  end
  return self.over
end

-- ---- the job's side ----

--- There is nothing more to fill a look-up's group with for now.
function Pipeline:flush()
  self:send_group("lookup")
end

--- Takes what has been answered; true when anything was.
function Pipeline:poll()
  local job = self.job
  local function hear(talk, event)
    job:tell("request", talk, event)
    if event.retry_in then
      local failure = common.failure(event)
      failure.delay = event.retry_in
      job:tell("retry", talk, failure)
    end
  end
  self.engine:poll() -- its bell is that of all: silenced first, so that no later ring is lost
  local a, b = self.embedder:poll(hear), self.index:poll(hear)
  return a or b
end

--- Groups that nothing will fill are sent, the foremost stage first.
function Pipeline:settle()
  local sent = false
  while self.embedder.talks + self.index.talks == 0 do
    local more = false
    for _, stage in ipairs(STAGES) do more = more or self:send_group(stage) end
    if not more then break end
    sent = true
  end
  -- An adapter that does not wait may have made room.
  if sent then self.engine:wake() end
end

local worse = { starting = 0, running = 0, throttled = 1, paused = 2, down = 3 }

--- Where the services stand: as engine:stats, of both; the worse state is told, and the embedder's limit.
function Pipeline:stats()
  local a, b = self.embedder:stats(), self.index:stats()
  if not (a and b) then
    return a or b or { state = "running", active = self.embedder.talks + self.index.talks, limit = self.embedder.most,
                       sends = 0, retries = 0, throttled = 0 }
  end
  local all = worse[b.state] > worse[a.state] and b or a
  for _, name in ipairs { "active", "sends", "retries", "throttled" } do all[name] = a[name] + b[name] end
  all.limit = a.limit
  return all
end

--- No further image will be embedded; what is embedded already is stored.
function Pipeline:drain()
  self.embedder:drain()
  self:give_back("lookup")
  self:give_back("embed")
end

--- Whom it asks, without credentials.
function Pipeline:where()
  return self.embedder.adapter.where .. ", " .. self.index.adapter.where
end

--- A URL of each service that it asks.
function Pipeline:urls()
  local urls = {}
  for _, service in ipairs { self.embedder, self.index } do urls[#urls + 1] = service.url end
  return urls
end

--- Ends everything; gives how often anything was sent.
function Pipeline:close()
  local sends = 0
  for _, service in ipairs { self.embedder or false, self.index or false } do
    if service then sends = sends + service:close() end
  end
  self.engine:close()
  return sends
end

return { new = new }
