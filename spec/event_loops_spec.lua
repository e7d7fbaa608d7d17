-- A job driven by its descriptor alone, from libuv's loop and from cqueues', beside a timer of the host's.
require "spec.support.paths"
local cqueues = require "cqueues"
local uv = require "spec.support.uv"
local harness = require "spec.support.harness"
local revec = require "revec"
local server = require "spec.support.server"

local TICK_SECONDS = 0.01

-- Each drives a job to its end and calls tick() on a timer of the same loop; gives how often it called step.
local loops = {}

function loops.luv(job, tick)
  local poll, timer, turns, over = uv.new_poll(job:fd()), uv.new_timer(), 0, false
  local function turn()
    turns = turns + 1
    over = not job:step()
    if over then
      poll:close()
      timer:close()
    end
  end
  timer:start(TICK_SECONDS * 1000, TICK_SECONDS * 1000, function() tick(turn) end)
  poll:start("r", turn)
  turn()
  -- Not until the loop is empty: the server's process stands in it as well.
  while not over do uv.run("once") end
  uv.run("nowait")
  return turns
end

local shared_loop

function loops.cqueues(job, tick)
  -- One loop for all: what it remembers of a descriptor must not outlive the job.
  shared_loop = shared_loop or cqueues.new()
  local ready, turns, over = { pollfd = job:fd(), events = "r" }, 0, false
  local function turn()
    turns = turns + 1
    cqueues.cancel(ready.pollfd)
    over = not job:step()
  end
  shared_loop:wrap(function()
    turn()
    while not over do
      cqueues.poll(ready)
      if not over then turn() end
    end
  end)
  shared_loop:wrap(function()
    while not over do
      cqueues.sleep(TICK_SECONDS)
      if not over then tick(turn) end
    end
  end)
  assert(shared_loop:loop())
  return turns
end

-- Beside the answers: the first turn, the walk's and the count's end, the host's changes of state.
local OTHER_TURNS = 8

for name, drive in pairs(loops) do
  describe("a job in the loop of " .. name, function()
    local s, storage, dir

    before_each(function()
      storage = harness.tree { "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg", "g.jpg", "h.jpg" }
      dir = harness.tempdir()
    end)
    after_each(function()
      server.stop_all()
      harness.cleanup()
    end)

    local function start(handler, changes)
      s = server.start("return function(request, reply) " .. handler .. " end")
      local options = { storage_path = storage, api_url = s.url, failed_dir = dir, retry_delay = 0.01, check = "each" }
      for key, value in pairs(changes or {}) do options[key] = value end
      return assert(revec.start(options))
    end

    it("lets timers go on while it waits, and is not stepped while nothing happens", function()
      local gate = dir .. "/gate"
      -- The answers come once the timer has opened the gate: were it held up by the job, there would be no end.
      local job = start(([[
        local gate = io.open(%q)
        while not gate do reply.sleep(0.01) gate = io.open(%q) end
        gate:close()
        if request.method == "GET" then return reply.not_indexed() end
        reply.embedding(request.id)
      ]]):format(gate, gate))
      local ticks = 0
      local turns = drive(job, function()
        ticks = ticks + 1
        if ticks == 30 then harness.write(gate, "") end
      end)
      assert.same({ "done", 8, 16 }, { job:report().reason, job:report().succeeded, job:report().sends })
      assert.is_true(ticks >= 30)
      assert.is_true(turns <= job:report().sends + OTHER_TURNS, turns .. " turns")
    end)

    it("needs no timer for retries, holds and their ends", function()
      local job = start [[
        if request.method == "GET" then return reply.not_indexed() end
        if request.id == "b" and request.seen <= 2 then return reply.json(503, '{"detail":"later"}') end
        if request.id == "c" and request.seen <= 2 then return reply.json(429, '{"detail":"slow down"}') end
        reply.embedding(request.id)
      ]]
      local turns = drive(job, function() end)
      local report = job:report()
      assert.same({ "done", 8 }, { report.reason, report.succeeded })
      assert.is_true(report.retries >= 4)
      -- A retry is an event as well as a send; each hold changes the state twice.
      assert.is_true(turns <= report.sends + report.retries + 2 * report.throttled + OTHER_TURNS, turns .. " turns")
    end)

    it("may be stopped by a timer", function()
      local job = start 'reply.json(429, [[{"detail":"slow down"}]], { ["Retry-After"] = "60" })'
      drive(job, function(turn)
        if job:snapshot().state == "throttled" then
          job:stop()
          turn()
        end
      end)
      assert.same({ "interrupted", 8, 8 }, { job:report().reason, job:report().total, job:report().pending })
    end)

    it("makes room for another with the same descriptor", function()
      local good = 'if request.method == "GET" then return reply.not_indexed() end reply.embedding(request.id)'
      local first = start(good)
      local descriptor = first:fd()
      drive(first, function() end)
      server.stop_all()
      local second = start(good)
      assert.equal(descriptor, second:fd())
      drive(second, function() end)
      assert.same({ 8, 8 }, { first:report().succeeded, second:report().succeeded })
    end)
  end)
end
