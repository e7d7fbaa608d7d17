-- Runs the one rebuild inside an nginx worker: holds the lock that makes it the only one, steps the job between other
-- requests' events, obeys wishes to stop, and ends it when the worker exits.

local core = require("revec.core")
local revec = require("revec")
local board = require("board")

local PAUSE = 0.001       -- seconds between two turns at least: the worker's other requests come first
local LOOK_UP = 0.25      -- seconds after which a wish to stop, or the worker's exit, is noticed at the latest
local LONGEST_NAP = 0.05  -- seconds; without a doorbell
local PUBLISH_EVERY = 0.2 -- seconds

local M = {}

local running -- this worker's run

local Run = {}
Run.__index = Run

-- The file whose lock the worker holds while it runs a rebuild. The kernel frees it however the process ends.
local function lock(dir)
  local file, why = io.open(dir .. "/rebuild.lock", "ae") -- e: no child of this process inherits the lock
  if not file then return nil, 500, "the folder of the records: " .. core.clean(why) end
  if core.lock(file) then return file end
  file:close()
  return nil, 409, "a rebuild is running: wait for its end, or stop it with DELETE /rebuild"
end

-- The engine's own signal. nginx's Lua cannot watch a descriptor but can connect to a Unix socket: the engine makes one,
-- and sends a byte through it whenever there is something to do.
function Run:listen()
  local path = self.dir .. "/rebuild.bell"
  os.remove(path) -- a killed worker's
  local ok, why = self.job:doorbell(path)
  local bell = ngx.socket.tcp()
  if ok then ok, why = bell:connect("unix:" .. path) end
  os.remove(path)
  if ok then
    self.bell = bell
  else
    ngx.log(ngx.WARN, "revec: no doorbell, so the rebuild looks for work by a timer: ", core.clean(why))
  end
end

-- Lets the worker do its other work until there is something to do.
function Run:wait()
  ngx.sleep(PAUSE)
  if self.bell then
    self.bell:settimeout(LOOK_UP * 1000)
    local _, why = self.bell:receiveany(4096)
    if not why or why == "timeout" then return end
    self.bell = nil -- closed under us, as nginx does when a worker's shutdown takes too long
  end
  self.nap = self.events == self.events_before and math.min((self.nap or PAUSE) * 2, LONGEST_NAP) or PAUSE
  self.events_before = self.events
  ngx.sleep(self.nap)
end

function Run:obey()
  local job, wishes = self.job, board.wishes(self.about.run)
  if wishes > 0 then job:stop("interrupted", "stopped by a request") end
  if wishes > 1 then job:abort() end
  if not ngx.worker.exiting() then return end
  self.exiting = self.exiting or core.now()
  job:stop("worker_exit", "the nginx worker exits: start again to go on")
  if core.now() - self.exiting >= self.drain then job:abort() end
end

function Run:publish()
  local now = core.now()
  if now - (self.published or 0) < PUBLISH_EVERY then return end
  self.published = now
  local stand = self.job:snapshot()
  self.watch:point(stand)
  board.publish(self.about, stand)
end

-- However it ended: the last word, and the next one may start.
function Run:finish()
  running = nil
  if self.bell then self.bell:close() end
  local report = self.job:report()
  self.watch:point(report, true)
  board.publish(self.about, report, true)
  self.lock:close()
end

local function drive(_, run)
  local ok, why = pcall(function()
    run:listen()
    while run.job:step(0) do
      run:obey()
      run:publish()
      run:wait()
    end
  end)
  if not ok then
    ngx.log(ngx.ERR, "revec: ", why)
    run.job:stop("error", "see nginx's error log")
    run.job:abort()
  end
  -- Unless M.leave has been faster.
  if running == run then run:finish() end
end

--- Starts a rebuild in this worker.
-- @param options those of revec.start, checked
-- @param about table of what is to be told about the run: storage, backend, options
-- @param drain seconds that what is in flight may take when the worker exits
-- @return true; or nil, an HTTP status and one line
function M.start(options, about, drain)
  local dir = options.failed_dir
  local locked, status, why = lock(dir)
  -- A run tells of its end a moment before it gives the lock back.
  for _ = 1, 100 do
    if status ~= 409 or board.running() then break end
    ngx.sleep(0.01)
    locked, status, why = lock(dir)
  end
  if not locked then return nil, status, why end
  local run = setmetatable({ lock = locked, dir = dir, about = about, drain = drain, events = 0, watch = board.watch() }, Run)
  options.on_event = {
    request = function(_, event)
      run.events = run.events + 1
      if event.seconds then run.watch:request(event.seconds) end
    end,
    failed = board.failed,
  }
  run.job, why = revec.start(options)
  if not run.job then
    locked:close()
    return nil, 500, why
  end
  about.worker, about.started = ngx.worker.pid(), ngx.time()
  board.begin(about)
  board.publish(about, run.job:snapshot())
  running = run
  local ok
  ok, why = ngx.timer.at(0, drive, run)
  if ok then return true end
  run.job:stop("error", "no timer: " .. why)
  run.job:abort()
  run:finish()
  return nil, 503, "nginx gives no timer for it: " .. why
end

--- For init_worker_by_lua: a run whose worker was killed is told as ended. What it has done is in the index, what had failed
-- gets its record with the next start.
function M.enter(dir)
  local free = board.running() and lock(dir)
  if not free then return end
  -- Asked again, now that the lock is ours: it may have ended in between, and it says so before it gives the lock back.
  if board.running() then board.lost("its nginx worker was killed: start again to go on") end
  free:close()
end

--- For exit_worker_by_lua: a fast shutdown does not wait for requests, and so leaves a run to be ended here.
function M.leave()
  if not running then return end
  running.job:stop("worker_exit", "nginx was stopped: start again to go on")
  running.job:abort()
  running.bell = nil -- nginx has closed it
  running:finish()
end

return M
