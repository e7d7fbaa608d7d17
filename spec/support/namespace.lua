-- A network and a file system of their own for servers and commands under test, so that a spec can break both: Linux
-- namespaces, held by a process that waits. All made in them vanishes with it: rules, routes, mounts. Needs root.
--
--   local space, why = namespace.new()
--   if not space then return pending(why) end
--   local s = server.start(source, { inside = space })
--   space:drop("tcp sport " .. s.port)
--   … harness.run { inside = space, … } …
--
-- Inside there is a loopback that is up, with a wire's MTU, and a chain for the packets that arrive on it. A spec that
-- made some ends with namespace.close_all(), after its servers and commands and before its folders are removed.

local socket = require("socket")
local process = require("spec.support.process")

local SECONDS = 20
local POLL_SECONDS = 0.005

local SET_UP = [[
PATH=$PATH:/usr/sbin:/sbin
ip link set lo mtu 1500 up &&
nft 'add table inet faults; add chain inet faults input { type filter hook input priority 0; }' &&
echo ready
exec cat]]

local namespace = {}
local open = {}

local Space = {}
Space.__index = Space

-- New namespaces; or nil and why this machine gives none: not root, a kernel that forbids them, ip or nft missing.
function namespace.new()
  local space = setmetatable({ dir = process.tempdir() }, Space)
  open[#open + 1] = space
  local output = space.dir .. "/output"
  -- The pipe closes when this process ends, however it does, and with it cat.
  space.holder = process.spawn {
    command = { "unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", SET_UP },
    stdin = "lifeline", stdout = output, stderr = space.dir .. "/errors", env = { LD_PRELOAD = false },
  }
  local deadline = socket.gettime() + SECONDS
  while process.read(output) ~= "ready\n" do
    if space.holder:ended() or socket.gettime() > deadline then
      return nil, "no namespaces here: " .. process.read(space.dir .. "/errors")
    end
    socket.sleep(POLL_SECONDS)
  end
  return space
end

-- The words that go before a command that is to run inside, in the folder cwd.
function Space:words(cwd)
  local pid = ("%d"):format(self.holder.pid)
  return { "nsenter", "--target", pid, "--net", "--mount", "--wdns=" .. (cwd or "/"), "--" }
end

-- Runs commands of a shell inside, to their end; what they print. Raises when the last of them fails.
function Space:shell(commands)
  local words, output = self:words(), self.dir .. "/shell"
  for _, word in ipairs { "sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; exec 2>&1; " .. commands } do words[#words + 1] = word end
  local child = process.spawn { command = words, stdout = output, env = { LD_PRELOAD = false } }
  if not child:wait(SECONDS) then child:kill() end
  if child.code ~= 0 then error(("inside a namespace: %s\n%s"):format(commands, process.read(output)), 2) end
  return process.read(output)
end

-- Packets that arrive and match ("tcp sport 80 …", in nft's words) meet this fate from now on: by default they are lost,
-- which neither end is told.
function Space:drop(match, fate)
  self:shell(("nft 'add rule inet faults input %s %s'"):format(match, fate or "drop"))
end

-- All packets arrive again.
function Space:heal()
  self:shell("nft flush chain inet faults input")
end

-- The path by which a file inside is seen from outside, mounts and all.
function Space:path(path)
  return ("/proc/%d/root%s"):format(self.holder.pid, path)
end

function namespace.close_all()
  for _, space in ipairs(open) do
    space.holder:kill()
    process.remove(space.dir)
  end
  open = {}
end

return namespace
