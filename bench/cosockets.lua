-- The work of a rebuild as one would write it for nginx without revec: light threads that share a list of ids, a kept connection
-- each, every answer read and decoded. POST starts it, GET tells how many are done, DELETE stops it.

local cjson = require("cjson.safe")

local AT_ONCE = 20

local M = {}
local done, began, seconds, stopped = 0, 0, 0, false

-- One request; true when the answer says success.
local function embed(sock, host, path, id)
  local ok = sock:send("POST " .. path .. "/api/v1/embedding/image?image_id=" .. ngx.escape_uri(id)
    .. "&normalize=true&auto_index=true HTTP/1.1\r\nHost: " .. host .. "\r\nContent-Length: 0\r\n\r\n")
  local line = ok and sock:receive("*l")
  local length
  while line and line ~= "" do
    length = tonumber(line:match("^[Cc]ontent%-[Ll]ength: *(%d+)")) or length
    line = sock:receive("*l")
  end
  local body = line and sock:receive(length)
  local answer = body and cjson.decode(body)
  return type(answer) == "table" and answer.status == "success"
end

local function run(_, url, ids)
  local host, port, path = url:match("^http://([^:/]+):(%d+)(.*)$")
  local next_id = io.lines(ids)
  local threads = {}
  for i = 1, AT_ONCE do
    threads[i] = ngx.thread.spawn(function()
      local sock = ngx.socket.tcp()
      assert(sock:connect(host, tonumber(port)))
      for id in next_id do
        if stopped then break end
        if not embed(sock, host, path, id) then ngx.log(ngx.ERR, "failed: ", id) end
        done = done + 1
      end
      sock:close()
    end)
  end
  for i = 1, AT_ONCE do ngx.thread.wait(threads[i]) end
  ngx.update_time()
  seconds = ngx.now() - began
end

function M.serve(url, ids)
  local method = ngx.req.get_method()
  if method == "POST" then
    done, seconds, stopped = 0, nil, false
    ngx.update_time()
    began = ngx.now()
    assert(ngx.timer.at(0, run, url, ids))
  end
  stopped = stopped or method == "DELETE"
  ngx.say(cjson.encode { done = done, running = seconds == nil, seconds = seconds })
end

return M
