-- What a test or a demonstration may ask of the backend besides its work: to be slow, to refuse, to fail, and to tell what it was
-- asked. None of this is in the real service. Settings and counters are in shared memory, so a reload keeps them.

local cjson = require("cjson.safe")
local index = require("index")
local wire = require("wire")

local shared = ngx.shared.control

local M = {}

local function is_text(value) return type(value) == "string" end
local function is_number(value, low) return type(value) == "number" and value >= low and value < math.huge end
local function is_count(value) return is_number(value, 0) and value % 1 == 0 end

local function is_latency(value)
  if type(value) ~= "table" then return is_number(value, 0) end
  return #value == 2 and is_number(value[1], 0) and is_number(value[2], value[1])
end

local function is_failure(value)
  return type(value) == "table" and is_text(value.pattern)
    and is_count(value.status) and value.status >= 200 and value.status <= 599
    and (value.body == nil or is_text(value.body)) and (value.times == nil or is_count(value.times))
end

local SETTINGS = {
  latency_ms = { is_latency, "milliseconds, or [lowest, highest]" },
  lookup_latency_ms = { is_latency, "milliseconds, or [lowest, highest]" },
  silent_index_failure = { is_text, "a part of an id" },
  fail = { is_failure, '{"pattern": text, "status": 200..599, "body": text (optional), "times": count (optional)}' },
  max_in_flight = { is_count, "a count" },
  rate_per_second = { is_count, "a count" },
  retry_after = { function(value) return is_text(value) or is_count(value) end, "seconds or an HTTP date" },
}

local settings, settings_text = {}, nil

-- Decoded only when another worker or request has changed the text.
local function current()
  local text = shared:get("settings")
  if text ~= settings_text then
    settings, settings_text = text and cjson.decode(text) or {}, text
  end
  return settings
end

local function change(body)
  local wanted = cjson.decode(body or "")
  if type(wanted) ~= "table" then return 400, wire.detail("a JSON object of settings expected") end
  local merged = {}
  for name, value in pairs(current()) do merged[name] = value end
  for name, value in pairs(wanted) do
    local check = SETTINGS[name]
    if not check then return 400, wire.detail("unknown setting: " .. tostring(name)) end
    if value ~= cjson.null and not check[1](value) then return 400, wire.detail(name .. ": " .. check[2] .. " expected") end
    merged[name] = value ~= cjson.null and value or nil
  end
  local ok, err = shared:safe_set("settings", cjson.encode(merged))
  if not ok then return 500, wire.detail("settings not kept: " .. err) end
  if wanted.fail then shared:set("failures_left", merged.fail and merged.fail.times or math.huge) end
  return M.report()
end

local function reset()
  -- The gauge outlives the reset: requests that are under way will count themselves out.
  local in_flight = shared:get("in_flight") or 0
  local version = shared:get("version") or 0
  shared:flush_all()
  shared:set("in_flight", in_flight)
  shared:set("version", version)
  index.clear()
  return M.report()
end

--- The answer to `GET /_control`.
function M.report()
  local requests, answers = {}, {}
  for _, key in ipairs(shared:get_keys(0)) do
    local group, name = key:match("^(%l+):(.*)$")
    if group == "request" then requests[name] = shared:get(key) end
    if group == "answer" then answers[name] = shared:get(key) end
  end
  return 200, cjson.encode({
    settings = current(), requests = requests, answers = answers, worker = ngx.worker.pid(),
    in_flight = shared:get("in_flight") or 0, max_in_flight = shared:get("max_in_flight") or 0,
  })
end

M.routes = {
  GET = M.report,
  DELETE = reset,
  POST = function()
    ngx.req.read_body()
    return change(ngx.req.get_body_data())
  end,
}

--- Count a request in; `leave` counts it out, from the log phase, however it ended.
function M.enter(label)
  ngx.ctx.entered = true
  shared:incr("request:" .. label, 1, 0)
  local in_flight = shared:incr("in_flight", 1, 0)
  if in_flight > (shared:get("max_in_flight") or 0) then shared:set("max_in_flight", in_flight) end
end

function M.leave()
  if not ngx.ctx.entered then return end
  shared:incr("in_flight", -1)
  shared:incr("answer:" .. ngx.status, 1, 0)
end

local function is_too_much(wanted)
  if wanted.max_in_flight and shared:get("in_flight") > wanted.max_in_flight then return true end
  if not wanted.rate_per_second then return false end
  local this_second = shared:incr("second:" .. math.floor(ngx.now()), 1, 0, 2)
  return this_second > wanted.rate_per_second
end

local function wait(latency)
  if type(latency) == "table" then latency = latency[1] + (latency[2] - latency[1]) * math.random() end
  if latency and latency > 0 then ngx.sleep(latency / 1000) end
end

local function is_to_fail(failure, request)
  if not failure then return false end
  -- Matched against method and decoded target, so that a pattern can single out a route as well as an id.
  if not request:find(failure.pattern, 1, true) then return false end
  return shared:incr("failures_left", -1) >= 0
end

--- Do to a request what the settings want done. Returns the answer when it is refused or failed, else nothing.
-- `request` is method, space, decoded target.
function M.hinder(request, is_embed)
  local wanted = current()
  local status, body
  if is_too_much(wanted) then
    status, body = 429, wire.detail("Too Many Requests")
  else
    wait(not is_embed and wanted.lookup_latency_ms or wanted.latency_ms)
    if is_to_fail(wanted.fail, request) then
      status, body = wanted.fail.status, wanted.fail.body or wire.detail("failure asked for")
    end
  end
  if status and status >= 400 then ngx.header["Retry-After"] = wanted.retry_after end
  return status, body
end

--- Whether this id's vector is to be lost although the answer says success.
function M.is_lost(id)
  local part = current().silent_index_failure
  return part ~= nil and id:find(part, 1, true) ~= nil
end

return M
