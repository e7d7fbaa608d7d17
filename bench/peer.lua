-- The same job with lua-http on cqueues: luajit peer.lua URL CONCURRENT IDS. One kept connection for each of CONCURRENT
-- coroutines; the answer's body is read and searched for its status, not parsed.
local cqueues = require "cqueues"
local client = require "http.client"
local headers = require "http.headers"

local base, concurrent = arg[1], tonumber(arg[2])
local host, port, prefix = base:match("^http://([^:/]+):(%d+)(.*)$")
local ids, taken = {}, 0
for id in io.lines(arg[3]) do ids[#ids + 1] = id end
local succeeded = 0

local function embed(connection, id)
  local request = headers.new()
  request:append(":method", "POST")
  request:append(":scheme", "http")
  request:append(":authority", host .. ":" .. port)
  request:append(":path", prefix .. "/api/v1/embedding/image?image_id=" .. id .. "&normalize=true&auto_index=true")
  request:append("content-type", "application/json")
  request:append("content-length", "0")
  local stream = assert(connection:new_stream())
  assert(stream:write_headers(request, true, 60))
  local answer = assert(stream:get_headers(60))
  local body = assert(stream:get_body_as_string(60))
  return answer:get(":status") == "200" and body:find('"status":"success"', 1, true)
end

local loop = cqueues.new()
for _ = 1, concurrent do
  loop:wrap(function()
    local connection = assert(client.connect { host = host, port = tonumber(port), version = 1.1, tls = false })
    while taken < #ids do
      taken = taken + 1
      local id = ids[taken]
      assert(embed(connection, id), id)
      succeeded = succeeded + 1
    end
    connection:close()
  end)
end
assert(loop:loop())
print(succeeded .. " succeeded")
