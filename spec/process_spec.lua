-- What an operating system may do to a run's process: stop it, starve it, give it few descriptors, threads or stack.
local harness = require "spec.support.harness"
local process = require "spec.support.process"
local server = require "spec.support.server"
local socket = require "socket"

local N = 40

local function images()
  local names = {}
  for i = 1, N do names[i] = string.format("%03d.jpg", i) end
  return harness.tree(names)
end

-- The command's words behind those of another program that starts it, by a shell for its interpreter's own words.
local function behind(...)
  local words = { ... }
  for _, word in ipairs { "sh", "-c", "exec " .. harness.lua_command() .. ' "$@"', "sh", harness.root .. "/rebuild.lua" } do
    words[#words + 1] = word
  end
  return words
end

local s
local function start(args, options)
  options = options or {}
  options.args = { "--storage-path", images(), "--api-url", s.url, "--retry-delay", "0.05" }
  for _, argument in ipairs(args or {}) do options.args[#options.args + 1] = argument end
  options.env = { LC_ALL = "C" }
  return harness.spawn(options)
end

local function count(result, name) return tonumber(result.stderr:match(" %- INFO %- " .. name .. ": (%d+)\n")) end

local function whole(result)
  assert.same({ 0, N, 0 }, { result.code, count(result, "Succeeded"), count(result, "Failed") }, result.output)
  assert.same({}, harness.list(result.cwd))
end

local function await(run, n)
  while s:count("^POST ") < n do
    assert(not run.child:ended(), run:output_so_far())
    socket.sleep(0.005)
  end
end

local function finish()
  server.stop_all()
  harness.cleanup()
end

describe("a process that is stopped", function()
  before_each(function() s = server.start "return function(request, reply) reply.sleep(0.02) reply.correctly() end" end)
  after_each(finish)

  it("for longer than all its timeouts (H3) goes on, and no image fails for it", function()
    local run = start { "--timeout", "0.3", "--connect-timeout", "0.3", "--down-timeout", "0.5" }
    await(run, 10)
    run:signal("STOP")
    socket.sleep(1)
    run:signal("CONT")
    whole(run:wait())
  end)

  it("again and again for less than its timeouts (H11) takes nothing for a timeout", function()
    local run = start { "--timeout", "2" }
    for _ = 1, 20 do
      if run.child:ended() then break end
      run:signal("STOP")
      socket.sleep(0.045)
      run:signal("CONT")
      socket.sleep(0.005)
    end
    local result = run:wait()
    whole(result)
    assert.is_nil(count(result, "Retries"))
  end)
end)

describe("a process", function()
  before_each(function() s = server.start "return function(request, reply) reply.sleep(0.01) reply.correctly() end" end)
  after_each(finish)

  it("that signals interrupt all the time (H7) does not notice", function()
    local run = start()
    await(run, 1)
    for _ = 1, 300 do
      if run.child:ended() then break end
      run:signal("USR1")
      socket.sleep(0.0005)
    end
    local result = run:wait()
    whole(result)
    assert.same({ nil, N }, { count(result, "Retries"), s:count("^POST ") })
  end)

  it("of two threads with a Lua state each (H16) runs two jobs that know nothing of each other", function()
    local script = harness.tempdir() .. "/threads.lua"
    harness.write(script, [[
      local uv = require "luv"
      local threads = {}
      for i = 1, 2 do
        threads[i] = uv.new_thread(function(path, cpath, storage, url, dir)
          package.path, package.cpath = path, cpath
          local report = assert(require("revec").rebuild { storage_path = storage, api_url = url, failed_dir = dir })
          io.write(report.reason, " ", report.succeeded + report.skipped, " of ", report.total, "\n")
        end, package.path, package.cpath, arg[1], arg[2], arg[3])
      end
      for _, thread in ipairs(threads) do thread:join() end
    ]])
    local command = harness.lua_words()
    for _, word in ipairs { "-e", ("package.path, package.cpath = %q, %q"):format(package.path, package.cpath), script,
                            images(), s.url, harness.tempdir() } do command[#command + 1] = word end
    local result = harness.run { command = command }
    assert.same({ 0, "", ("done %d of %d\n"):format(N, N):rep(2) }, { result.code, result.stderr, result.stdout })
  end)
end)

describe("a process that waits", function()
  after_each(finish)

  -- Seconds of processor time, its own and the system's for it.
  local function used(run)
    local ticks = harness.run { command = { "getconf", "CLK_TCK" } }.stdout
    local user, system = harness.read("/proc/" .. run.pid .. "/stat"):match("%) %S" .. (" %S+"):rep(10) .. " (%d+) (%d+)")
    return (user + system) / ticks
  end

  local waits = {
    { "until it may send again", "return reply.json(429, '{}', { ['Retry-After'] = '60' })", "Rate limited" },
    { "for a backend that is gone", "return reply.reset()", "pausing and probing" },
    { "for an answer", "return reply.hang()", "Image: " },
  }
  for _, wait in ipairs(waits) do
    it(wait[1] .. " (S61) leaves the processor to others", function()
      s = server.start("return function(request, reply) if (request.id or 'probe') > '010' then " .. wait[2] .. " end reply.correctly() end")
      local run = start { "--check", "each", "--retry-delay", "1" }
      run:wait_for(wait[3])
      socket.sleep(0.4)
      local before, began = used(run), socket.gettime()
      assert.is_true(before > 0)
      socket.sleep(1.2)
      local share = (used(run) - before) / (socket.gettime() - began)
      assert.is_true(share < 0.1, share)
    end)
  end
end)

describe("a process with little", function()
  before_each(function() s = server.start "return function(request, reply) reply.sleep(0.05) reply.correctly() end" end)
  after_each(finish)

  it("room for descriptors (N24, F26) indexes every image with those that there are", function()
    whole(start({ "--max-concurrent", "64" }, { command = behind("prlimit", "--nofile=24") }):wait())
  end)

  it("stack for its threads (H13) works as ever", function()
    local bytes = os.getenv("LD_PRELOAD") and 2 ^ 20 or 65536 -- a sanitizer's own share is larger
    whole(start({}, { command = behind("prlimit", ("--stack=%d"):format(bytes)) }):wait())
  end)

  -- A user of whom nothing else runs, as root has no limit of processes.
  local user = 50000 + process.own_pid % 10000
  local sanitizers = (os.getenv("LD_PRELOAD") or ""):find("tsan", 1, true) and 1 or 0 -- a thread of its own
  for threads, lines in ipairs { "revec: engine: no thread can be started\n", "revec: %-%-storage%-path: [^\n]*: no thread can be started\n" } do
    it("right to start threads (H13) says so in one line: " .. threads - 1 .. " of 2", function()
      if harness.run({ command = { "id", "-u" } }).stdout ~= "0\n" then return pending("only root may run the command as another user") end
      local reads = harness.run { command = { "setpriv", "--reuid=" .. user, "--regid=" .. user, "--clear-groups", "test", "-r",
        harness.root .. "/rebuild.lua" } }
      if reads.code ~= 0 then return pending("another user may not read this checkout") end
      local dir = harness.tempdir()
      harness.shell("chmod 777 '" .. dir .. "'")
      local storage = harness.tree { "a.jpg" }
      harness.shell("chmod 755 '" .. storage .. "'")
      local result = harness.run {
        command = behind("setpriv", "--reuid=" .. user, "--regid=" .. user, "--clear-groups", "prlimit", "--nproc=" .. threads + sanitizers),
        args = { "--storage-path", storage, "--api-url", s.url, "--failed-dir", dir },
        env = { LC_ALL = "C", ASAN_OPTIONS = "detect_leaks=0" }, -- which takes a thread
      }
      assert.equal(2, result.code, result.output)
      assert.matches("^" .. lines .. "$", result.output)
      assert.same({ 0, {} }, { #s:requests(), harness.list(dir) })
    end)
  end
end)

describe("a process without standard streams", function()
  after_each(finish)

  for _, closed in ipairs { "2>&-", "<&- >&- 2>&-", "2>/dev/full" } do
    it("(" .. closed .. ", I15) does its work, and record and exit code tell of it", function()
      s = server.start [[return function(request, reply)
        if request.id == "007" then return reply.json(400, '{"detail":"bad image"}') end
        reply.correctly()
      end]]
      local result = start({}, { command = { "sh", "-c", "exec " .. harness.lua_command() .. ' "$@" ' .. closed, "sh", harness.root .. "/rebuild.lua" } }):wait()
      assert.equal(1, result.code)
      local record = harness.records(result.cwd)
      assert.same({ 1, 1, "007", "bad image" }, { #harness.list(result.cwd), #record[1], record[1][1].id, record[1][1].error })
      assert.equal(N - 1, s:count("^POST .*image_id=0[^0]") + s:count("^POST .*image_id=00[^7]"))
    end)
  end
end)
