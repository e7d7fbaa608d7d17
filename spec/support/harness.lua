-- Helpers for end-to-end specs: storages of files, the real command run or started on them, what it wrote.
-- A spec ends with harness.cleanup() (in after_each), which ends what still runs and removes what was made here.

local cjson = require("cjson")
local http = require("socket.http")
local lfs = require("lfs")
local ltn12 = require("ltn12")
local socket = require("socket")
local paths = require("spec.support.paths")
local process = require("spec.support.process")
local storages = require "spec.support.storages"

local RUN_SECONDS = 30
local BACKEND_SECONDS = 20
local POLL_SECONDS = 0.01

local harness = { root = process.root, read = process.read }

local folders, runs, backends = {}, {}, {}

-- Under a sanitizer (make sanitize) only the interpreter is run with it, and this checkout's scripts take the modules built
-- with it.
local sanitizer = os.getenv("REVEC_BUILD") and os.getenv("LD_PRELOAD")
local sanitized_modules = [[for _, module in ipairs { "core", "describe", "digest", "store" } do
  package.preload["revec." .. module] = function(name)
    local path = %q .. "/" .. _VERSION:match("%%d+%%.%%d+") .. "/revec/" .. module .. ".so"
    return assert(package.loadlib(path, "luaopen_revec_" .. module))(name)
  end
end]]

local function interpreter(script)
  local wish = os.getenv("REVEC_LUA")
  local words = wish and {} or process.interpreter()
  for word in (wish or ""):gmatch("%S+") do words[#words + 1] = word end
  if sanitizer and (not script or script:sub(1, #harness.root) == harness.root) then
    words[#words + 1] = "-e"
    words[#words + 1] = sanitized_modules:format(paths.build)
  end
  return words
end

-- The interpreter for commands under test, as text for a shell: REVEC_LUA ("valgrind -q lua5.4") or the one running now.
function harness.lua_command()
  local words = interpreter()
  for i, word in ipairs(words) do words[i] = process.quote(word) end
  return (sanitizer and "env LD_PRELOAD=" .. process.quote(sanitizer) .. " " or "") .. table.concat(words, " ")
end

-- Runs commands in a shell that no sanitizer is preloaded into, as os.execute's would be; raises when they fail.
function harness.shell(commands)
  storages.shell("/", commands)
end

-- The interpreter for other scripts in a process of their own, as a list.
function harness.lua_words()
  local words = process.interpreter()
  if sanitizer then
    table.insert(words, 1, "LD_PRELOAD=" .. sanitizer)
    table.insert(words, 1, "env")
  end
  return words
end

---------------------------------------------------------------------------------------------------------------------
-- Files

function harness.tempdir()
  local dir = process.tempdir()
  folders[#folders + 1] = dir
  return dir
end

-- Writes a file, making the folders it lies in.
function harness.write(path, bytes)
  for stop in path:gmatch("()/") do
    local folder = path:sub(1, stop - 1)
    if folder ~= "" and not lfs.attributes(folder) then assert(lfs.mkdir(folder)) end
  end
  process.write(path, bytes)
end

-- A storage with these files (their content is their name); returns its path.
function harness.tree(names)
  local dir = harness.tempdir()
  for _, name in ipairs(names) do harness.write(dir .. "/" .. name, name) end
  return dir
end

-- The sorted names in one folder.
function harness.list(dir)
  local names = {}
  for name in lfs.dir(dir) do
    if name ~= "." and name ~= ".." then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- The decoded failure records in a folder, in the order of their names: each an array of failed images.
function harness.records(dir)
  local records = {}
  for _, name in ipairs(harness.list(dir)) do
    if name:find("^failed_images_.*%.json$") then
      records[#records + 1] = cjson.decode(assert(process.read(dir .. "/" .. name)))
    end
  end
  return records
end

---------------------------------------------------------------------------------------------------------------------
-- The command

local Run = {}
Run.__index = Run

local function result(run)
  local stdout, stderr = process.read(run.stdout), process.read(run.stderr)
  return {
    code = run.child.code,
    signal = run.child.killed_by,
    stdout = stdout,
    stderr = stderr,
    output = stdout .. stderr,
    seconds = run.ended - run.began,
    cwd = run.cwd,
  }
end

-- Ends the process by a signal: "INT", "TERM", "KILL", …
function Run:signal(name) self.child:signal(name) end

-- Standard output and standard error so far, one after the other.
function Run:output_so_far()
  return process.read(self.stdout) .. process.read(self.stderr)
end

-- Waits until the output so far matches the Lua pattern, and returns the match (or its first capture).
function Run:wait_for(pattern, seconds)
  local deadline = socket.gettime() + (seconds or RUN_SECONDS)
  while true do
    local ended = self.child:ended()
    local output = self:output_so_far()
    local found = output:match(pattern)
    if found then return found end
    if ended or socket.gettime() > deadline then
      error(("%s without %q in its output:\n%s"):format(ended and "the command ended" or "timed out", pattern, output), 2)
    end
    socket.sleep(POLL_SECONDS)
  end
end

-- Waits for the end and returns { code=, signal=, stdout=, stderr=, output=, seconds=, cwd= }: code is nil when a signal
-- ended it, signal (a name) is nil otherwise. A command that takes longer is killed and fails the spec.
function Run:wait(seconds)
  seconds = seconds or RUN_SECONDS
  local in_time = self.child:wait(seconds)
  if not in_time then self.child:kill() end
  self.ended = self.ended or socket.gettime()
  if not in_time then
    error(("killed after %g seconds: %s\n%s"):format(seconds, table.concat(self.child.command, " "),
      self:output_so_far()), 2)
  end
  return result(self)
end

local known_options = {
  args = true, env = true, cwd = true, timeout = true, stdin = true, script = true, command = true, inside = true,
}

-- Starts `<lua> <root>/rebuild.lua args…` and returns at once. Options: args (list; any bytes but NUL), env (changes;
-- false removes), cwd (default: a fresh folder), stdin (text), script (another Lua file than rebuild.lua), or
-- command (a list, in place of interpreter and script), inside (a namespace to run in).
-- The returned run has pid, :signal(name), :wait(seconds), :wait_for(pattern, seconds), :output_so_far().
function harness.spawn(options)
  for name in pairs(options) do assert(known_options[name], "harness: unknown option " .. tostring(name)) end
  local cwd = options.cwd or harness.tempdir()
  local command = options.inside and options.inside:words(cwd) or {}
  for _, word in ipairs(options.command or interpreter(options.script)) do command[#command + 1] = word end
  if not options.command then command[#command + 1] = options.script or harness.root .. "/rebuild.lua" end
  for _, word in ipairs(options.args or {}) do command[#command + 1] = word end

  -- Next to the working folder, not in it: a spec may list that one.
  local dir = harness.tempdir()
  local run = setmetatable({ stdout = dir .. "/stdout", stderr = dir .. "/stderr" }, Run)
  local stdin
  if options.stdin then
    stdin = dir .. "/stdin"
    process.write(stdin, options.stdin)
  end
  run.cwd = cwd
  local env = {}
  for name, value in pairs(options.env or {}) do env[name] = value end
  if sanitizer and options.command then env.LD_PRELOAD = false end
  run.began = socket.gettime()
  run.child = process.spawn {
    command = command, env = env, cwd = run.cwd,
    stdin = stdin, stdout = run.stdout, stderr = run.stderr,
  }
  run.pid = run.child.pid
  runs[#runs + 1] = run
  return run
end

-- Runs it to its end; options.timeout in seconds (30).
function harness.run(options)
  return harness.spawn(options):wait(options.timeout)
end

---------------------------------------------------------------------------------------------------------------------
-- Backends

function harness.free_port()
  local probe = assert(socket.bind("127.0.0.1", 0))
  local _, port = probe:getsockname()
  probe:close()
  return tonumber(port)
end

local Backend = {}
Backend.__index = Backend

local function control_request(backend, method, body)
  local pieces = {}
  local text = body and cjson.encode(body)
  local _, status = http.request {
    method = method, url = backend.url .. "/_control", sink = ltn12.sink.table(pieces),
    source = text and ltn12.source.string(text),
    headers = text and { ["Content-Type"] = "application/json", ["Content-Length"] = #text },
  }
  local answer = table.concat(pieces)
  if type(status) ~= "number" or status >= 300 then
    error(("the backend answered %s to %s /_control: %s"):format(tostring(status), method, answer), 3)
  end
  return answer ~= "" and cjson.decode(answer) or nil
end

-- Sets what the backend shall do; without an argument everything is as at the start again.
function Backend:control(settings)
  if not settings then return control_request(self, "DELETE") end
  return control_request(self, "POST", settings)
end

-- What it has counted so far.
function Backend:counters()
  return control_request(self, "GET")
end

local function backend_command(words)
  table.insert(words, 1, harness.root .. "/examples/backend/backend")
  local outcome = harness.run { command = words, timeout = BACKEND_SECONDS }
  if outcome.code ~= 0 then
    error(("%s: exit %s, signal %s\n%s"):format(table.concat(words, " "), tostring(outcome.code),
      tostring(outcome.signal), outcome.output), 3)
  end
  return outcome.stdout
end

function Backend:stop()
  if not backends[self] then return end
  backends[self] = nil
  backend_command { "stop", "--state", self.state }
end

-- Starts the example backend on a storage; options: dim, index.
function harness.backend(storage, options)
  local backend = setmetatable({ state = harness.tempdir() }, Backend)
  local words = { "start", "--storage", storage, "--state", backend.state }
  for name, value in pairs(options or {}) do
    words[#words + 1] = "--" .. name
    words[#words + 1] = tostring(value)
  end
  local output = backend_command(words)
  backends[backend] = true
  backend.url = assert(output:match("https?://[^%s/]+"), "no URL in the backend's output: " .. output)
  return backend
end

---------------------------------------------------------------------------------------------------------------------

-- Ends every backend and command started here and removes every folder made here.
function harness.cleanup()
  for backend in pairs(backends) do backend:stop() end
  for _, run in ipairs(runs) do run.child:kill() end
  for _, dir in ipairs(folders) do process.remove(dir) end
  runs, folders = {}, {}
end

return harness
