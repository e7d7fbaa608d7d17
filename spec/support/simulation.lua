-- Backends and a client under a clock of our own: what a host with a limit makes of them. Discrete events, fixed seeds.

local internals = require("revec.internals")

local M = { NETWORK_S = 0.001 } -- there and back, where a run is not told otherwise

-- A generator of its own, the same under every Lua.
local function randomizer(seed)
  return function()
    seed = (seed * 16807) % 2147483647
    return seed / 2147483647
  end
end

-- What is to happen, in order of time.
local function new_agenda()
  local heap, n = {}, 0
  local agenda = { now = 1000 }
  function agenda.at(time, action)
    n = n + 1
    local i = n
    local entry = { time = time, order = (agenda.order or 0) + 1, action = action }
    agenda.order = entry.order
    while i > 1 do
      local parent = heap[math.floor(i / 2)]
      if parent.time < time or parent.time == time and parent.order < entry.order then break end
      heap[i] = parent
      i = math.floor(i / 2)
    end
    heap[i] = entry
  end
  local function before(a, b) return a.time < b.time or a.time == b.time and a.order < b.order end
  function agenda.run(until_time)
    while n > 0 and heap[1].time <= until_time do
      local first, last = heap[1], heap[n]
      heap[n] = nil
      n = n - 1
      local i = 1
      while 2 * i <= n do
        local child = 2 * i
        if child < n and before(heap[child + 1], heap[child]) then child = child + 1 end
        if not before(heap[child], last) then break end
        heap[i] = heap[child]
        i = child
      end
      if n > 0 then heap[i] = last end
      agenda.now = first.time
      first.action()
    end
  end
  return agenda
end

-- ---- backends: each takes a world (agenda, random) and gives a function that answers a request ----

-- Admits so many at once (a number, or a function of the seconds gone by); refusal: what becomes of the rest.
function M.admits(most, latency, refusal)
  return function(world)
    local busy = 0
    return function(reply)
      local limit = type(most) == "function" and most(world.now - world.start) or most
      if busy >= limit then return reply(refusal or "rate_limited") end
      busy = busy + 1
      world.at(world.now + latency * (0.95 + 0.1 * world.random()), function()
        busy = busy - 1
        reply("ok")
      end)
    end
  end
end

-- So many per second of the clock (a number, or a function of the seconds gone by), and refuses the rest.
function M.counts(rate, latency)
  return function(world)
    local phase, count, current = world.random(), 0, nil
    return function(reply)
      local this = math.floor(world.now + phase)
      if this ~= current then current, count = this, 0 end
      count = count + 1
      if count > (type(rate) == "function" and rate(world.now - world.start) or rate) then return reply("rate_limited") end
      world.at(world.now + latency * (0.95 + 0.1 * world.random()), function() reply("ok") end)
    end
  end
end

-- A bucket that fills at a rate and holds so many.
function M.bucket(rate, latency, size)
  return function(world)
    local tokens, filled = size, world.now
    return function(reply)
      tokens, filled = math.min(size, tokens + (world.now - filled) * rate), world.now
      if tokens < 1 then return reply("rate_limited") end
      tokens = tokens - 1
      world.at(world.now + latency * (0.95 + 0.1 * world.random()), function() reply("ok") end)
    end
  end
end

-- So many workers, each on one request at a time; the rest waits.
function M.workers(n, seconds)
  return function(world)
    local free = {}
    for i = 1, n do free[i] = 0 end
    return function(reply)
      local first = 1
      for i = 2, n do if free[i] < free[first] then first = i end end
      local slowness = type(seconds) == "function" and seconds(world.now - world.start) or seconds
      free[first] = math.max(free[first], world.now) + slowness * (0.95 + 0.1 * world.random())
      world.at(free[first], function() reply("ok") end)
    end
  end
end

-- Takes what there is, at most so many, as one batch; the next batch when that is done.
function M.batches(most, base, each)
  return function(world)
    local queue, running = {}, false
    local function run()
      if #queue == 0 then running = false return end
      running = true
      local batch = {}
      for i = 1, math.min(most, #queue) do batch[i] = table.remove(queue, 1) end
      world.at(world.now + (base + each * #batch) * (0.97 + 0.06 * world.random()), function()
        for _, reply in ipairs(batch) do reply("ok") end
        run()
      end)
    end
    return function(reply)
      queue[#queue + 1] = reply
      -- What arrives in the same moment is in the same batch.
      if not running then
        running = true
        world.at(world.now, run)
      end
    end
  end
end

-- A share of the answers is a 503, however few are sent.
function M.flaky(share, backend)
  return function(world)
    local answer = backend(world)
    return function(reply)
      answer(function(outcome) reply(outcome == "ok" and world.random() < share and "overloaded" or outcome) end)
    end
  end
end

-- Does nothing between two times, in seconds: what comes meanwhile waits.
function M.stalls(from, to, backend)
  return function(world)
    local answer = backend(world)
    return function(reply)
      local seconds = world.now - world.start
      if seconds < from or seconds > to then return answer(reply) end
      world.at(world.start + to, function() answer(reply) end)
    end
  end
end

-- ---- the client: as the I/O thread, with always enough to send ----

--- @param options of the host; seed; network: seconds there and back
-- @return function(from, to) -> accepted per second, refused share and mean limit between two times in seconds
function M.run(backend, seconds, options)
  local world = new_agenda()
  world.random = randomizer(options.seed or 1)
  for _ = 1, 3 do world.random() end
  world.start = world.now
  local host = internals.host(options)
  host:connected()
  local answer = backend(world)
  local in_flight, woken_at = 0, nil
  local one_way = (options.network or M.NETWORK_S) / 2
  local log = {}
  local pump

  local function ended(sent_at, level, outcome)
    in_flight = in_flight - 1
    local hold = outcome == "rate_limited"
      and internals.decide({}, { kind = outcome, throttles = host:throttles(), random = world.random() }).delay or nil
    host:ended(world.now, sent_at, level, outcome, hold)
    log[#log + 1] = { world.now - world.start, outcome, host:level(world.now) }
    pump()
  end

  function pump()
    while in_flight < host:limit(world.now) do
      in_flight = in_flight + 1
      local sent_at, level = world.now, host:sending(world.now)
      world.at(world.now + one_way, function()
        answer(function(outcome)
          world.at(world.now + one_way, function() ended(sent_at, level, outcome) end)
        end)
      end)
    end
    -- A poll ends on whole milliseconds.
    local wakes = world.now + math.ceil((host:wakes(world.now) - world.now) * 1000) / 1000
    if wakes <= world.now or wakes == math.huge or wakes == woken_at then return end
    woken_at = wakes
    world.at(wakes, function() if wakes == woken_at then pump() end end)
  end

  pump()
  world.run(world.start + seconds)
  return function(from, to)
    local counts, limits, n = { ok = 0, rate_limited = 0, overloaded = 0 }, 0, 0
    for _, entry in ipairs(log) do
      if entry[1] >= from and entry[1] < to then
        counts[entry[2]] = counts[entry[2]] + 1
        limits, n = limits + entry[3], n + 1
      end
    end
    return counts.ok / (to - from), counts.rate_limited / math.max(1, n), limits / math.max(1, n)
  end
end

return M
