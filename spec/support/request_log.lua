-- The log that a misbehaving server writes and the spec reads: one line per event, fields parted by tabs.
--   C connection time                                                  a connection was accepted
--   R n connection request_on_connection time in_flight escaped-head   a header block is complete
--   B n bytes                                                          its body ended, or broke off, after so many bytes
-- The header block is kept as it came; what it means is worked out by whoever reads it.

local request_log = {}

local escapes, originals = {}, {}
for code = 0, 127 do
  local char = string.char(code)
  local escaped = ("\\%03d"):format(code)
  escapes[char], originals[escaped] = escaped, char
end

local function percent_decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function parse_query(text)
  local first, all = {}, {}
  for pair in text:gmatch("[^&]+") do
    local name, value = pair:match("^([^=]*)=?(.*)$")
    name, value = percent_decode((name:gsub("%+", " "))), percent_decode((value:gsub("%+", " ")))
    first[name] = first[name] or value
    all[name] = all[name] or {}
    table.insert(all[name], value)
  end
  return first, all
end

-- A header block as a request: method, target, version, headers (lower-case names, repeated ones joined by ", "),
-- path (as sent, without scheme and host), query (first value of each name), query_all (lists), id.
function request_log.parse_head(head)
  local request = { headers = {} }
  local line, rest = head:match("^([^\n]*)\n?(.*)$")
  line = line:gsub("\r$", "")
  request.method, request.target, request.version = line:match("^(%S+) (.*) HTTP/(%d%.%d)$")
  if not request.method then
    request.method, request.target, request.version = line, "", ""
  end
  for name, value in rest:gmatch("([^:\r\n]+):[ \t]*([^\r\n]*)") do
    name = name:lower()
    local earlier = request.headers[name]
    request.headers[name] = earlier and earlier .. ", " .. value or value
  end
  local path, query = request.target:match("^([^?]*)%??(.*)$")
  request.path = path:gsub("^https?://[^/]*", "")
  request.query, request.query_all = parse_query(query)
  local in_path = request.path:match("^/api/v1/vectors/([^/]+)$")
  request.id = request.query.image_id or (in_path and percent_decode(in_path))
  return request
end

function request_log.connection_line(connection, time)
  return ("C\t%d\t%.6f\n"):format(connection, time)
end

function request_log.request_line(request, head)
  return ("R\t%d\t%d\t%d\t%.6f\t%d\t"):format(request.n, request.connection, request.request_on_connection,
    request.time, request.in_flight) .. head:gsub("[%c\\]", escapes) .. "\n"
end

function request_log.body_line(n, bytes)
  return ("B\t%d\t%d\n"):format(n, bytes)
end

-- All requests in the log's text, in order, and the number of accepted connections.
function request_log.parse(text)
  local requests, connections = {}, 0
  for line in text:gmatch("([^\n]*)\n") do
    local kind = line:sub(1, 1)
    if kind == "R" then
      local n, connection, nth, time, in_flight, head = line:match("^R\t(%d+)\t(%d+)\t(%d+)\t([%d.]+)\t(%d+)\t(.*)$")
      local request = request_log.parse_head((head:gsub("\\%d%d%d", originals)))
      request.n, request.connection, request.request_on_connection = tonumber(n), tonumber(connection), tonumber(nth)
      request.time, request.in_flight, request.body_bytes = tonumber(time), tonumber(in_flight), 0
      requests[request.n] = request
    elseif kind == "B" then
      local n, bytes = line:match("^B\t(%d+)\t(%d+)$")
      requests[tonumber(n)].body_bytes = tonumber(bytes)
    else
      connections = connections + 1
    end
  end
  return requests, connections
end

-- How many requests have a "METHOD target" that matches; reads no more of each line than it must.
function request_log.count(text, pattern)
  local count = 0
  for first_line in text:gmatch("R\t%d+\t%d+\t%d+\t[%d.]+\t%d+\t([^\n]-)\\013[^\n]*\n") do
    local method_and_target = first_line:gsub(" HTTP/%d%.%d$", ""):gsub("\\%d%d%d", originals)
    if method_and_target:find(pattern) then count = count + 1 end
  end
  return count
end

return request_log
