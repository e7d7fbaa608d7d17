-- The process behind spec/support/resolver.lua: a name server that answers every question as the file DIR/answer says at
-- that moment: with addresses, with a failure ("SERVFAIL", "NXDOMAIN"), or not at all ("").
-- Started as: lua dns.lua DIR. Writes DIR/ready once it listens, and a byte into DIR/questions for each question.

local socket = require("socket")

local dir = arg[1]
local QUESTION_AT = 13 -- behind the header
local TYPE_A, TYPE_AAAA = 1, 28
local codes = { SERVFAIL = 2, NXDOMAIN = 3 }

local function two_bytes(n) return string.char(math.floor(n / 256), n % 256) end

-- The bytes of an address in its dotted or coloned form (all eight groups written), and the type of its record.
local function address(text)
  local bytes = {}
  if text:find(":", 1, true) then
    for group in text:gmatch("%x+") do bytes[#bytes + 1] = two_bytes(tonumber(group, 16)) end
    return table.concat(bytes), TYPE_AAAA
  end
  for number in text:gmatch("%d+") do bytes[#bytes + 1] = string.char(tonumber(number)) end
  return table.concat(bytes), TYPE_A
end

local function answer(query, wish)
  -- The name is a row of labels, each behind its length, up to an empty one; type and class follow.
  local at = QUESTION_AT
  while query:byte(at) ~= 0 do at = at + 1 + query:byte(at) end
  local question = query:sub(QUESTION_AT, at + 4)
  local asked = query:byte(at + 1) * 256 + query:byte(at + 2)
  local records = {}
  for word in wish:gmatch("[%x.:]+") do
    local bytes, kind = address(word)
    -- A pointer to the question's name, type, class IN, no time to live, the address.
    if not codes[wish] and kind == asked then
      records[#records + 1] = "\192\012" .. two_bytes(kind) .. "\0\1\0\0\0\0" .. two_bytes(#bytes) .. bytes
    end
  end
  return query:sub(1, 2) .. "\129" .. string.char(128 + (codes[wish] or 0)) .. "\0\1" .. two_bytes(#records) .. "\0\0\0\0"
    .. question .. table.concat(records)
end

local server = assert(socket.udp4())
assert(server:setsockname("127.0.0.1", 53))
local questions = assert(io.open(dir .. "/questions", "ab"))
questions:setvbuf("no")
assert(io.open(dir .. "/ready", "w")):close()

-- Standard input is a pipe from the spec, which closes when the spec's process ends.
local lifeline = { getfd = function() return 0 end, dirty = function() return false end }
while true do
  local ready = socket.select({ server, lifeline })
  if ready[lifeline] then os.exit(0) end
  local query, ip, port = server:receivefrom()
  questions:write("?")
  local file = assert(io.open(dir .. "/answer"))
  local wish = file:read("*a")
  file:close()
  if query and wish ~= "" then server:sendto(answer(query, wish), ip, port) end
end
