--- An application for nginx that starts, shows and stops a rebuild of the vector index from inside a worker. README.md tells
-- how to set it up and who may do what.

local cjson = require("cjson.safe").new()
local core = require("revec.core")
local options = require("revec.options")
local board = require("board")
local runner = require("runner")

cjson.decode_invalid_numbers(false)
cjson.decode_max_depth(8)

-- Options of every run, unless the settings have others: the engine's threads give way to the workers.
local usual = { nice = 10 }

-- What a request may choose. Not here, and so left to the settings: whatever names a file, an environment variable, another
-- host or a proxy, adds headers, or weakens TLS.
local from_requests = {
  "max_concurrent", "batch_size", "max_retries", "retry_delay", "force_reindex", "no_skip_indexed", "limit", "ext", "id", "tags",
  "check", "verify", "max_failures", "dry_run", "timeout", "connect_timeout", "down_timeout", "rate", "http2",
}

-- What a request chooses by a name of the settings instead.
local named = { storage_path = "storage", api_url = "backend" }

local LOOK_EVERY = 0.2 -- seconds between two looks of a watcher
local SILENCE = 15     -- seconds after which a watcher is told that the connection lives

local M = {}

local settings

-- ---- settings ----

local function names_of(map)
  local names = {}
  for name in pairs(map) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function is_loopback()
  local address = ngx.var.remote_addr
  -- Where another server passes requests on, all seem to come from here.
  local passed_on = ngx.var.http_x_forwarded_for or ngx.var.http_x_real_ip or ngx.var.http_forwarded or ngx.var.http_via
  return not passed_on and (address:find("^127%.") or address == "::1" or address == "unix:") and true or false
end

local function read(name)
  local path = debug.getinfo(1, "S").source:match("^@(.*/)") .. name
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local defaults = {
  storages = nil, backends = nil, dir = nil, options = {}, dict = "revec", prefix = "", drain = 1.5,
  hosts = { "localhost", "127.0.0.1", "[::1]" }, may_watch = is_loopback, may_control = is_loopback,
}
local types = {
  storages = "table", backends = "table", dir = "string", options = "table", dict = "string", prefix = "string", drain = "number",
  hosts = "table", may_watch = "function", may_control = "function",
}

-- The options of a run: the request's before the settings', those before the usual ones.
local function merged(storage, backend, given)
  local all = {}
  for _, layer in ipairs { usual, settings.options, given } do
    for name, value in pairs(layer) do all[name] = value end
  end
  all.storage_path, all.api_url, all.failed_dir = settings.storages[storage], settings.backends[backend], settings.dir
  return all
end

--- For init_by_lua; starts nothing.
-- @param given table: see README.md
-- @raise one line for a mistake in it, with which nginx does not start
function M.setup(given)
  local function bad(what) error("revec settings: " .. what, 0) end
  settings = {}
  for name, value in pairs(defaults) do settings[name] = value end
  for name, value in pairs(given) do
    if not types[name] then bad(tostring(name) .. ": no such setting") end
    if type(value) ~= types[name] then bad(name .. ": a " .. types[name] .. " expected, got a " .. type(value)) end
    settings[name] = value
  end
  for _, name in ipairs { "storages", "backends", "dir" } do
    if not settings[name] or settings[name] == "" or type(settings[name]) == "table" and not next(settings[name]) then
      bad(name .. ": missing")
    end
  end
  for _, name in ipairs { "on_event", "failed_dir", "storage_path", "api_url" } do
    if settings.options[name] ~= nil then bad("options." .. name .. ": the application's own") end
  end
  for _, storage in ipairs(names_of(settings.storages)) do
    for _, backend in ipairs(names_of(settings.backends)) do
      local ok, why = options.resolve(merged(storage, backend, {}))
      if not ok then bad("with storage " .. storage .. " and backend " .. backend .. ": " .. why) end
    end
  end
  board.open(settings.dict)
  settings.files = {
    ["/"] = { "text/html; charset=utf-8", read("index.html") },
    ["/page.css"] = { "text/css; charset=utf-8", read("page.css") },
    ["/page.js"] = { "text/javascript; charset=utf-8", read("page.js") },
  }
end

--- For init_worker_by_lua and exit_worker_by_lua.
function M.enter() runner.enter(settings.dir) end
M.leave = runner.leave

-- ---- answers ----

local function send(status, kind, body)
  ngx.status = status
  ngx.header["Content-Type"] = kind
  ngx.header["Content-Length"] = #body
  if ngx.req.get_method() ~= "HEAD" then ngx.print(body) end
  return ngx.exit(ngx.OK)
end

local function refuse(status, why)
  return send(status, "application/json", cjson.encode { error = core.clean(why) } .. "\n")
end

-- What a browser is to hold to, whatever the answer.
local function protect()
  local header = ngx.header
  header["Content-Security-Policy"] = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    .. "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
  header["X-Content-Type-Options"] = "nosniff"
  header["X-Frame-Options"] = "DENY"
  header["Referrer-Policy"] = "no-referrer"
  header["Cross-Origin-Resource-Policy"] = "same-origin"
  header["Cross-Origin-Opener-Policy"] = "same-origin"
  header["Cache-Control"] = "no-store"
end

-- ---- who may ask ----

-- A name that somebody else's server gave to this address (DNS rebinding) is not one of ours.
local function is_our_host()
  local host = (ngx.var.http_host or ""):lower():gsub(":%d+$", "")
  for _, ours in ipairs(settings.hosts) do
    if host == ours:lower() then return true end
  end
  return false
end

-- A page of another site can make a browser send requests, but not hide where they come from.
local function is_from_elsewhere()
  local origin, site = ngx.var.http_origin, ngx.var.http_sec_fetch_site
  if origin and (origin:match("^https?://(.+)$") or "") ~= ngx.var.http_host then return true end
  return site ~= nil and site ~= "same-origin" and site ~= "none"
end

-- ---- POST /rebuild ----

-- One of the configured names; the only one when there is only one and none is given.
local function choose(what, map, name)
  local names = names_of(map)
  if name == nil and #names == 1 then return names[1] end
  if type(name) == "string" and map[name] then return name end
  local got = name == nil and "none" or core.fit(cjson.encode(name), 60)
  return nil, what .. ": one of " .. table.concat(names, ", ") .. " expected, got " .. got
end

-- Storage, backend and options that a request asks for; or nil and what is wrong.
local function understand(body)
  local given, why = cjson.decode(body)
  if type(given) ~= "table" or not body:find("^%s*{") or not core.is_utf8(body) then
    return nil, "a JSON object of options expected" .. (why and ": " .. why or "")
  end
  local allowed, wanted = {}, {}
  for _, name in ipairs(from_requests) do allowed[name] = true end
  for name, value in pairs(given) do
    local known = options.by_name[name]
    if named[name] then
      return nil, name .. ": not taken from a request; choose a " .. named[name] .. " by its name"
    elseif known and not allowed[name] then
      return nil, name .. ": not taken from a request"
    elseif value == ngx.null then
      return nil, core.clean(name) .. ": null; leave it out for the default"
    end
    wanted[name] = value
  end
  local storage, backend
  storage, why = choose("storage", settings.storages, given.storage)
  if not storage then return nil, why end
  backend, why = choose("backend", settings.backends, given.backend)
  if not backend then return nil, why end
  wanted.storage, wanted.backend = nil, nil
  local ok
  ok, why = options.resolve(merged(storage, backend, wanted))
  if not ok then return nil, why end
  return { storage = storage, backend = backend, options = wanted }
end

local function start()
  local kind = (ngx.var.http_content_type or ""):lower():match("^[^;%s]*")
  if kind ~= "application/json" then return refuse(415, "Content-Type: application/json expected") end
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  if not body and ngx.req.get_body_file() then return refuse(413, "a shorter body expected") end
  local wanted, why = understand(body or "")
  if not wanted then return refuse(400, why) end
  local ok, status
  -- Copied: the run tells what was asked for, the job gets its hooks besides.
  ok, status, why = runner.start(merged(wanted.storage, wanted.backend, wanted.options), wanted, settings.drain)
  if not ok then return refuse(status, why) end
  return send(202, "application/json", board.state() .. "\n")
end

-- ---- the other routes ----

local function names_json(map) return cjson.encode(names_of(map)) end

local function setup_json()
  return '{"storages":' .. names_json(settings.storages) .. ',"backends":' .. names_json(settings.backends) .. "}"
end

local function stand()
  return send(200, "application/json", setup_json():sub(1, -2) .. ',"rebuild":' .. (board.state() or "null") .. "}\n")
end

local function stop()
  local run = board.running()
  if not run then return refuse(409, "no rebuild is running") end
  local how = board.wish_to_stop(run) > 1 and "now" or "when what is in flight has ended"
  return send(202, "application/json", cjson.encode { stopping = how } .. "\n")
end

-- Server-sent events: setup once, then state, failure and point as they come, history when all points are to be drawn anew.
local function events()
  ngx.header["Content-Type"] = "text/event-stream"
  ngx.header["X-Accel-Buffering"] = "no"
  if ngx.req.get_method() == "HEAD" then return end
  local out = { "retry: 1000\n\n" }
  local function tell(name, data) out[#out + 1] = "event: " .. name .. "\ndata: " .. data .. "\n\n" end
  local state, series, run
  local failures, points, told_at = 0, 0, core.now()
  tell("setup", setup_json())
  repeat
    local new_points, last_point, its_series = board.points_after(points)
    if its_series == series then
      for _, point in ipairs(new_points) do tell("point", point) end
    else
      new_points, last_point, series = board.points_after(0)
      tell("history", "[" .. table.concat(new_points, ",") .. "]")
      if series:match("^%d+") ~= run then
        run, failures = series:match("^%d+"), 0
        tell("failures", "[]")
      end
    end
    points = last_point
    local new_failures
    new_failures, failures = board.failures_after(failures)
    for _, failure in ipairs(new_failures) do tell("failure", failure) end
    local now_state = board.state()
    if now_state and now_state ~= state then
      state = now_state
      tell("state", state)
    end
    if core.now() - told_at > SILENCE then out[#out + 1] = ": \n\n" end
    if #out > 0 then
      told_at = core.now()
      if not ngx.print(out) or not ngx.flush(true) then return end
      out = {}
    end
    ngx.sleep(LOOK_EVERY)
    -- The browser connects again, to a worker that stays.
  until ngx.worker.exiting()
end

local function metrics()
  return send(200, "text/plain; version=0.0.4; charset=utf-8", board.metrics())
end

local routes = {
  ["/rebuild"] = { GET = stand, POST = start, DELETE = stop },
  ["/rebuild/events"] = { GET = events },
  ["/metrics"] = { GET = metrics },
}

--- For content_by_lua: answers every route below the prefix.
function M.serve()
  protect()
  local method = ngx.req.get_method()
  local watching = method == "GET" or method == "HEAD"
  if not is_our_host() then return refuse(403, "Host: not one of the configured hosts") end
  if not settings[watching and "may_watch" or "may_control"]() then return refuse(403, "not allowed from here") end
  if not watching and is_from_elsewhere() then return refuse(403, "not allowed from another site's page") end

  local path = ngx.var.uri
  local route = path:sub(1, #settings.prefix) == settings.prefix and path:sub(#settings.prefix + 1)
  local file, methods = settings.files[route], routes[route]
  if file then methods = { GET = function() return send(200, file[1], file[2]) end } end
  if not methods then return refuse(404, "no such route") end
  local handler = methods[method == "HEAD" and "GET" or method]
  if handler then return handler() end
  local allowed = names_of(methods)
  ngx.header["Allow"] = table.concat(allowed, ", ")
  return refuse(405, table.concat(allowed, ", ") .. " expected")
end

return M
