-- A name server inside a namespace (spec/support/namespace.lua), the only one that programs there ask:
--
--   local names = resolver.start(space, "127.0.0.1")
--   names:answer("SERVFAIL") … names:questions() …
--
-- Its answer to every question is a list of addresses, "SERVFAIL", "NXDOMAIN", or "" for silence, for which programs wait
-- so many seconds (1). It ends with the
-- namespace's other processes when the spec calls resolver.stop_all().

local socket = require("socket")
local process = require("spec.support.process")

local START_SECONDS = 10
local POLL_SECONDS = 0.005

local resolver = {}
local running = {}

local Resolver = {}
Resolver.__index = Resolver

function resolver.start(space, answer, seconds)
  local self = setmetatable({ dir = process.tempdir() }, Resolver)
  running[#running + 1] = self
  self:answer(answer)
  process.write(self.dir .. "/resolv.conf", ("nameserver 127.0.0.1\noptions timeout:%d attempts:1\n"):format(seconds or 1))
  space:shell("mount --bind " .. process.quote(self.dir .. "/resolv.conf") .. " /etc/resolv.conf")
  local command = space:words()
  for _, word in ipairs(process.interpreter()) do command[#command + 1] = word end
  command[#command + 1] = process.root .. "/spec/support/dns.lua"
  command[#command + 1] = self.dir
  self.child = process.spawn { command = command, stdin = "lifeline", stderr = self.dir .. "/errors" }
  local deadline = socket.gettime() + START_SECONDS
  while not process.read(self.dir .. "/ready") do
    if self.child:ended() or socket.gettime() > deadline then
      error("the name server did not start: " .. process.read(self.dir .. "/errors"), 2)
    end
    socket.sleep(POLL_SECONDS)
  end
  return self
end

-- What it answers from now on.
function Resolver:answer(text)
  process.write(self.dir .. "/answer.new", text)
  assert(os.rename(self.dir .. "/answer.new", self.dir .. "/answer"))
end

-- How often it was asked.
function Resolver:questions()
  return #process.read(self.dir .. "/questions")
end

function resolver.stop_all()
  for _, each in ipairs(running) do
    if each.child then each.child:kill() end
    process.remove(each.dir)
  end
  running = {}
end

return resolver
