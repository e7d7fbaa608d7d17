-- Child processes and temporary folders for the specs.
--
-- Children are started by libuv, without a shell between: a shell would hide the difference
-- between "exited with 130" and "killed by SIGINT", would start background jobs with SIGINT
-- ignored, and would need every argument quoted. All calls here are synchronous.

local uv = require("spec.support.uv")
local lfs = require("lfs")

local process = {}

local unpack = table.unpack or unpack -- luacheck: ignore
local KILL_WAIT_SECONDS = 10

local signal_names = {
  [1] = "HUP", [2] = "INT", [3] = "QUIT", [4] = "ILL", [6] = "ABRT", [7] = "BUS", [8] = "FPE",
  [9] = "KILL", [10] = "USR1", [11] = "SEGV", [12] = "USR2", [13] = "PIPE", [14] = "ALRM", [15] = "TERM",
  [17] = "CHLD", [18] = "CONT", [19] = "STOP", [24] = "XCPU", [25] = "XFSZ", [31] = "SYS",
}
local signal_numbers = {}
for number, name in pairs(signal_names) do signal_numbers[name] = number end

-- The checkout's root, from where this file lies: <root>/spec/support/process.lua.
-- busted may have loaded it by a relative path, so it is made absolute before anything changes folder.
local here = debug.getinfo(1, "S").source:match("^@(.*)spec/support/[^/]*$")
if here:sub(1, 1) ~= "/" then here = lfs.currentdir() .. "/" .. here end
process.root = here:gsub("/%./", "/"):gsub("/+%.?$", "")

-- luv gives a float under 5.4.
process.own_pid = ("%d"):format(uv.os_getpid())

function process.quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- The interpreter that runs the current spec, as a list: its name and its own options (luajit -joff).
function process.interpreter()
  local first = 0
  while arg[first - 1] do first = first - 1 end
  local words = {}
  for i = first, -1 do words[#words + 1] = arg[i] end
  assert(words[1], "no interpreter name in arg: start busted as 'lua5.4 /usr/bin/busted'")
  return words
end

function process.read(path)
  local file, why = io.open(path, "rb")
  if not file then return nil, why end
  local bytes = file:read("*a")
  file:close()
  return bytes
end

function process.write(path, bytes)
  local file = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  assert(file:close())
end

local function environment(changes)
  local merged = uv.os_environ()
  for name, value in pairs(changes or {}) do merged[name] = value or nil end
  local list = {}
  for name, value in pairs(merged) do list[#list + 1] = name .. "=" .. value end
  return list
end

local Child = {}
Child.__index = Child

-- Waits at most `seconds` for the end of the child; false when it still runs.
function Child:wait(seconds)
  if self.exited then return true end
  local expired = false
  local timer = uv.new_timer()
  uv.update_time()
  timer:start(math.ceil(seconds * 1000), 0, function() expired = true end)
  while not (self.exited or expired) do uv.run("once") end
  timer:close()
  uv.run("nowait")
  return self.exited
end

function Child:signal(name)
  local number = assert(signal_numbers[name], "unknown signal: " .. tostring(name))
  if not self.exited then uv.kill(self.pid, number) end
end

-- Ends the child whatever it does, and reaps it.
function Child:kill()
  self:signal("KILL")
  assert(self:wait(KILL_WAIT_SECONDS), "process " .. self.pid .. " survives SIGKILL")
end

-- Has the child ended by now?
function Child:ended()
  uv.run("nowait")
  return self.exited
end

-- Starts options.command (a list) and returns at once. stdin, stdout, stderr are paths
-- (default /dev/null); stdin = "lifeline" is a pipe that closes when this process ends, however it ends.
-- env: changes to the environment, false removes a variable.
function process.spawn(options)
  local child = setmetatable({ exited = false, command = options.command }, Child)
  local input, lifeline
  if options.stdin == "lifeline" then
    lifeline = uv.new_pipe(false)
    input = lifeline
  else
    input = assert(uv.fs_open(options.stdin or "/dev/null", "r", 0))
  end
  local output = assert(uv.fs_open(options.stdout or "/dev/null", "w", 384))
  local errors = assert(uv.fs_open(options.stderr or "/dev/null", "w", 384))
  local handle, pid
  handle, pid = uv.spawn(options.command[1], {
    args = { unpack(options.command, 2) },
    stdio = { input, output, errors },
    env = environment(options.env),
    cwd = options.cwd,
  }, function(code, signal)
    child.exited = true
    if signal ~= 0 then
      child.killed_by = signal_names[signal] or signal
    else
      child.code = code
    end
    handle:close()
    if lifeline then lifeline:close() end
  end)
  if not lifeline then uv.fs_close(input) end
  uv.fs_close(output)
  uv.fs_close(errors)
  if not handle then
    if lifeline then lifeline:close() end
    error("cannot start " .. options.command[1] .. ": " .. tostring(pid), 2)
  end
  child.pid = pid
  return child
end

-- A fresh folder; the pid in its name lets a spec assert that none of its own is left.
function process.tempdir()
  local base = os.getenv("TMPDIR") or "/tmp"
  return assert(uv.fs_mkdtemp(base .. "/revec-spec-" .. process.own_pid .. "-XXXXXX"))
end

-- Removes a file or a folder with all that is in it. Links are removed, not followed.
function process.remove(path)
  local mode = lfs.symlinkattributes(path, "mode")
  if mode == "directory" then
    -- Listed first: a folder that shrinks under readdir may hide names from it.
    local names = {}
    for name in lfs.dir(path) do names[#names + 1] = name end
    for _, name in ipairs(names) do
      if name ~= "." and name ~= ".." then process.remove(path .. "/" .. name) end
    end
    assert(lfs.rmdir(path))
  elseif mode then
    assert(os.remove(path))
  end
end

return process
