--- A service of a direct rebuild: an adapter (embedders/, indexes/), and what carries its requests.
--
-- Adapters are straight-line code: they ask and go on with the answer. So each such conversation is a coroutine, which
-- rests while its request is under way. No call blocks but where an adapter does that does not ask.

local core = require "revec.core"
local transport = require "revec.transport"

local M = {}

local Service = {}
Service.__index = Service

-- An answer of one step: what follows from it may take long enough.
local EVENTS_PER_STEP = 32
local MAX_CONCURRENT = 256 -- when it is found out
local MAX_THREADS = 64

--- Opens what the adapter needs: an engine where it has routes, threads where it has a task, else nothing.
-- @param options as options.resolve gives them
-- @param most requests in flight, or "auto"
-- @param beside the engine whose bell rings for this service, too
-- @return service; or nil and one line
function M.open(adapter, options, most, beside)
  local adaptive = most == "auto"
  if adaptive then most = adapter.task and MAX_THREADS or MAX_CONCURRENT end
  local self, why = setmetatable({ adapter = adapter, most = most, talks = 0 }, Service), nil
  if adapter.task then
    self.channel, why = core.workers { task = adapter.task, threads = adaptive and 0 or math.min(most, MAX_THREADS), nice = options.nice,
                                  beside = beside }
  elseif adapter.routes then
    self.url = adapter.probe_url
    self.channel, why = transport.engine(options, {
      probe_url = adapter.probe_url, headers = adapter.headers, beside = beside,
      adaptive = adaptive, max_concurrent = most,
    })
  end
  if why then return nil, why end
  if adapter.routes then
    self.routes = {}
    for name, route in pairs(adapter.routes) do self.routes[name] = self.channel:route(route) end
  end
  return self
end

--- Begins a conversation.
-- @param talk a table of the caller's; the events of its requests come with it. Gets sends, how many were made
-- @param body function(ask) → two results; runs as a coroutine
-- @param done function(first, second): body's results; nil and a failure of kind "hook" when it has raised
function Service:start(talk, body, done)
  talk.sends, talk.done = 0, done
  talk.thread = coroutine.create(body)
  self.talks = self.talks + 1
  local channel, routes = self.channel, self.routes
  self:go_on(talk, function(route, url, parts)
    talk.asked = true
    if routes then
      channel:submit(routes[route], url, talk, talk.urgent, nil, nil, parts)
    else
      channel:submit(url, talk)
    end
    return coroutine.yield()
  end)
end

function Service:go_on(talk, ...)
  talk.asked = false
  local ok, first, second = coroutine.resume(talk.thread, ...)
  if ok and coroutine.status(talk.thread) ~= "dead" then
    if talk.asked then return end
    ok, first = false, "a yield that nothing was asked with: code that yields cannot be used here"
  end
  self.talks = self.talks - 1
  if ok then return talk.done(first, second) end
  talk.done(nil, { kind = "hook", message = core.clean(tostring(first)), attempts = 0 })
end

--- Takes answers; true when there were any.
-- @param hear function(talk, event): told of every event first
function Service:poll(hear)
  if not self.channel then return false end
  local events = self.channel:poll(EVENTS_PER_STEP)
  for i = 1, #events do
    local event = events[i]
    local talk = event.item
    hear(talk, event)
    if not event.retry_in then
      talk.sends = talk.sends + event.sends
      self:go_on(talk, event)
    end
  end
  return #events > 0
end

--- As engine:stats; nil where nothing can be out of reach.
function Service:stats()
  return self.routes and self.channel:stats()
end

function Service:drain()
  if self.channel then self.channel:drain() end
end

--- Ends everything; gives how often anything was sent.
function Service:close()
  local sends = self.channel and self.channel:close()
  if self.adapter.close then self.adapter:close() end
  return sends or 0
end

return M
