-- What the workers know of the one rebuild: where it stands, how it went over time, what failed. It lies in shared memory, so
-- that any worker can show it; only the worker that runs the rebuild writes, but for wishes to stop it.

local cjson = require("cjson.safe")
local core = require("revec.core")

local FAILURES_KEPT = 200
local POINTS_KEPT = 600 -- when there are so many, each two become one, so that the whole run is shown whatever its length
local TEXT_COLUMNS = 400

-- Bounds of the latencies' buckets: 0.1 ms and up to 105 s, four to a doubling.
local BUCKETS_TO_DOUBLE, BUCKETS, LEAST = 4, 81, 0.0001

local M = {}

local dict

--- @param name of the lua_shared_dict
function M.open(name)
  dict = ngx.shared[name]
  if not dict then error("no lua_shared_dict " .. name .. " in nginx.conf", 0) end
end

local function put(key, value)
  local ok, why = dict:set(key, value)
  if not ok then ngx.log(ngx.ERR, "revec: ", key, " does not fit into the shared memory: ", why) end
end

-- A text that may be anything, as it may stand in JSON.
local function text(value)
  return value and (core.fit(core.clean(value), TEXT_COLUMNS))
end

-- ---- where it stands ----

--- Before the first run nil; else JSON: the run, and the snapshot or report.
function M.state()
  return dict:get("state")
end

--- The number of the run that is under way, or nil.
function M.running()
  return dict:get("running") or nil
end

--- @param run table of what does not change during it: storage, backend, options, worker, started
function M.begin(run)
  put("failures", 0)
  put("points", 0)
  put("spacing", 1)
  put("latencies", nil)
  run.run = dict:incr("runs", 1, 0)
  put("running", run.run)
end

--- @param stand the job's snapshot, or at the end its report
function M.publish(run, stand, finished)
  local all = {}
  for key, value in pairs(run) do all[key] = value end
  for key, value in pairs(stand) do all[key] = type(value) == "string" and text(value) or value end
  all.running, all.stopping = not finished, not finished and M.wishes(run.run) > 0
  all.record = stand.record and text(stand.record:match("[^/]*$"))
  put("state", cjson.encode(all))
  if finished then
    put("running", nil)
    dict:incr("ended:" .. stand.reason, 1, 0)
  end
end

--- The run that is told to go on has no process any more.
function M.lost(message)
  local all = cjson.decode(M.state() or "") or {}
  all.reason, all.message, all.running, all.stopping = "killed", message, false, false
  put("state", cjson.encode(all))
  put("running", nil)
  dict:incr("ended:killed", 1, 0)
end

--- How this run is to end: 0 by itself, 1 when what is in flight has ended, 2 now.
function M.wishes(run)
  return dict:get("hurry") == run and 2 or dict:get("wish") == run and 1 or 0
end

--- Asks a run to end; asked twice, it ends now. Gives its wishes.
function M.wish_to_stop(run)
  if not dict:add("wish", run) then
    if dict:get("wish") == run then put("hurry", run) end
    put("wish", run)
  end
  return M.wishes(run)
end

-- ---- failures ----

function M.failed(image, failure)
  local n = dict:incr("failures", 1, 0)
  put("failure:" .. n % FAILURES_KEPT, cjson.encode {
    n = n, at = ngx.time(), image = text(image.relative_path), kind = failure.kind, status = failure.status,
    message = text(failure.message), attempts = failure.attempts,
  })
end

--- The failures after the n-th, as JSON, oldest first; and the number of the last one.
function M.failures_after(n)
  local last, found = dict:get("failures") or 0, {}
  for i = math.max(n, last - FAILURES_KEPT) + 1, last do found[#found + 1] = dict:get("failure:" .. i % FAILURES_KEPT) end
  return found, last
end

-- ---- latencies, and points over time ----

local Watch = {}
Watch.__index = Watch

--- Measures a run for its worker, which tells it of every request's end and calls `point` now and then.
function M.watch()
  return setmetatable({ total = 0, seconds = 0, all = {}, recent = {}, points = {}, spacing = 1, last_at = 0, last_done = 0 }, Watch)
end

function Watch:request(seconds)
  local i = math.max(1, math.min(BUCKETS, math.ceil(math.log(seconds / LEAST) / math.log(2) * BUCKETS_TO_DOUBLE) + 1))
  self.all[i] = (self.all[i] or 0) + 1
  self.recent[i] = (self.recent[i] or 0) + 1
  self.total, self.seconds = self.total + 1, self.seconds + seconds
end

local function bound(i) return LEAST * 2 ^ ((i - 1) / BUCKETS_TO_DOUBLE) end

-- The latency that this share of the requests stays below, in ms; nil when there were none.
local function percentile(buckets, share)
  local count, below = 0, 0
  for _, n in pairs(buckets) do count = count + n end
  for i = 1, BUCKETS do
    local n = buckets[i] or 0
    if n > 0 and below + n >= count * share then return bound(i - 1 + (count * share - below) / n) * 1000 end
    below = below + n
  end
end

local function merge(a, b)
  if not b then return a end
  local function mean(x, y) return x and y and (x + y) / 2 or x or y end
  return { at = b.at, rate = mean(a.rate, b.rate), p50 = mean(a.p50, b.p50), p95 = mean(a.p95, b.p95), failed = b.failed }
end

--- Adds a point when it is time for one.
-- @param stand the job's snapshot or report
function Watch:point(stand, finished)
  local elapsed = stand.seconds - self.last_at
  if elapsed < self.spacing and not (finished and elapsed > 0) then return end
  local points = self.points
  points[#points + 1] = {
    at = stand.seconds, rate = (stand.done - self.last_done) / elapsed, failed = stand.failed,
    p50 = percentile(self.recent, 0.5), p95 = percentile(self.recent, 0.95),
  }
  self.last_at, self.last_done, self.recent = stand.seconds, stand.done, {}
  local first = #points
  if #points == POINTS_KEPT then
    local halved = {}
    for i = 1, #points, 2 do halved[#halved + 1] = merge(points[i], points[i + 1]) end
    self.points, self.spacing, points, first = halved, self.spacing * 2, halved, 1
    put("spacing", self.spacing)
  end
  for i = first, #points do put("point:" .. i, cjson.encode(points[i])) end
  put("points", #points)
  put("latencies", cjson.encode { total = self.total, seconds = self.seconds, buckets = self:cumulative() })
end

-- Array of { upper bound in seconds, how many requests took no longer }.
function Watch:cumulative()
  local list, count = {}, 0
  for i = 1, BUCKETS do
    count = count + (self.all[i] or 0)
    if (i - 1) % BUCKETS_TO_DOUBLE == 0 and i < BUCKETS then list[#list + 1] = { bound(i), count } end
  end
  return list
end

--- The points after the n-th, as JSON; how many there are; and which series they belong to: in another, all are to be read anew.
function M.points_after(n)
  local last, found = dict:get("points") or 0, {}
  for i = n + 1, last do found[#found + 1] = dict:get("point:" .. i) end
  return found, last, (dict:get("runs") or 0) .. "/" .. (dict:get("spacing") or 1)
end

-- ---- for Prometheus ----

local gauges = {
  { "revec_running", "gauge", "Whether a rebuild is running.", function(s) return s.running and 1 or 0 end },
  { "revec_images_known", "gauge", "Images of the run as far as is known.", function(s) return s.total end },
  { "revec_requests_active", "gauge", "Requests in flight.", function(s) return s.active or 0 end },
  { "revec_requests_limit", "gauge", "The most requests in flight.", function(s) return s.limit or 0 end },
  { "revec_seconds", "gauge", "Seconds that the run has taken.", function(s) return s.seconds end },
  { "revec_sends_total", "counter", "Requests sent in the run, re-sends and probes included.", function(s) return s.sends end },
  { "revec_retries_total", "counter", "Attempts of the run that were followed by another.", function(s) return s.retries end },
  { "revec_throttled_total", "counter", "Throttled answers in the run.", function(s) return s.throttled end },
}

--- All of it in Prometheus's text format. Counters begin anew with each run.
function M.metrics()
  local lines = {}
  local function metric(name, kind, help)
    lines[#lines + 1] = "# HELP " .. name .. " " .. help .. "\n# TYPE " .. name .. " " .. kind
  end
  local function value(name, n) lines[#lines + 1] = string.format("%s %.14g", name, n) end

  local stand = cjson.decode(M.state() or "") or { total = 0, seconds = 0, sends = 0, retries = 0, throttled = 0 }
  for _, gauge in ipairs(gauges) do
    metric(gauge[1], gauge[2], gauge[3])
    value(gauge[1], gauge[4](stand) or 0)
  end
  metric("revec_images_total", "counter", "Images of the run that are done, by outcome.")
  for _, outcome in ipairs { "succeeded", "failed", "skipped", "filtered" } do
    value('revec_images_total{outcome="' .. outcome .. '"}', stand[outcome] or 0)
  end
  metric("revec_backend_state", "gauge", "1 for the state that the backend is in.")
  for _, state in ipairs { "starting", "running", "throttled", "paused", "down" } do
    value('revec_backend_state{state="' .. state .. '"}', stand.running and stand.state == state and 1 or 0)
  end
  metric("revec_runs_total", "counter", "Runs that ended, by reason.")
  for _, key in ipairs(dict:get_keys(0)) do
    local reason = key:match("^ended:(.*)$")
    if reason then value('revec_runs_total{reason="' .. reason .. '"}', dict:get(key)) end
  end
  local latencies = cjson.decode(dict:get("latencies") or "") or { total = 0, seconds = 0, buckets = {} }
  metric("revec_request_seconds", "histogram", "Seconds that the last attempt of each request of the run took.")
  for _, bucket in ipairs(latencies.buckets) do
    value(string.format('revec_request_seconds_bucket{le="%.4g"}', bucket[1]), bucket[2])
  end
  value('revec_request_seconds_bucket{le="+Inf"}', latencies.total)
  value("revec_request_seconds_sum", latencies.seconds)
  value("revec_request_seconds_count", latencies.total)
  return table.concat(lines, "\n") .. "\n"
end

return M
