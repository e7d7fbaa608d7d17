-- A stand-in for the image-search backend: its routes with its quirks, run by nginx (see nginx.conf.in). What the vectors are: see
-- vectors.lua. The routes under /_control are ours alone (see control.lua).

local control = require("control")
local index = require("index")
local storage = require("storage")
local vectors = require("vectors")
local wire = require("wire")

local TRUE = { ["true"] = true, ["1"] = true, on = true, yes = true, t = true, y = true }
local FALSE = { ["false"] = true, ["0"] = true, off = true, no = true, f = true, n = true }

-- Readers of query parameters. Of a repeated one the last counts; what is wrong is added to `problems`.

local function read_text(query, name)
  local values = query[name]
  return values and values[#values]
end

local function read_boolean(query, name, default, problems)
  local text = read_text(query, name)
  if not text then return default end
  if TRUE[text:lower()] then return true end
  if not FALSE[text:lower()] then
    table.insert(problems, { "bool_parsing", name, "Input should be a valid boolean, unable to interpret input", text })
  end
  return false
end

local function read_limit(query, problems)
  local text = read_text(query, "limit")
  if not text then return 100 end
  local limit = text:match("^[+-]?%d+$") and tonumber(text)
  if not limit then
    table.insert(problems, { "int_parsing", "limit", "Input should be a valid integer, unable to parse string as an integer", text })
  elseif limit < 1 then
    table.insert(problems, { "greater_than_equal", "limit", "Input should be greater than or equal to 1", text })
  elseif limit > 1000 then
    table.insert(problems, { "less_than_equal", "limit", "Input should be less than or equal to 1000", text })
  end
  return limit
end

local function metadata(record)
  local tags = {}
  for tag in record.tags:gmatch("[^,]+") do table.insert(tags, wire.quote(tag)) end
  return ('{"image_path":%s,"filename":%s,"tags":[%s],"dimension":%d,"created_at":"%s"}'):format(
    wire.quote(record.path), wire.quote(record.path:match("[^/]*$")), table.concat(tags, ","),
    vectors.dimension, record.time)
end

local function append_record(parts, record)
  table.insert(parts, '{"id":' .. wire.quote(record.id) .. ',"vector":')
  vectors.append(parts, record.digest)
  table.insert(parts, ',"metadata":' .. metadata(record) .. "}")
end

-- Ids as Qdrant takes them.
local function is_point_id(id)
  local dashed = "^" .. ("x"):rep(8) .. "%-xxxx%-xxxx%-xxxx%-" .. ("x"):rep(12) .. "$"
  return id:find("^%d+$") or id:find((dashed:gsub("x", "%%x"))) or id:find("^" .. ("%x"):rep(32) .. "$")
end

-- Handlers: each returns a status and a body.

local function embed(query)
  local problems = {}
  local id = read_text(query, "image_id")
  local auto_index = read_boolean(query, "auto_index", false, problems)
  -- No effect: the vectors have unit length already. Still a malformed value is refused.
  read_boolean(query, "normalize", true, problems)
  if not id and query.image_url then return 400, wire.detail("image_url is not offered by this stand-in") end
  if not id then table.insert(problems, 1, { "missing", "image_id", "Field required" }) end
  if #problems > 0 then return 422, wire.invalid(problems) end

  local path, digest, why = storage.find(id)
  if not path then return 404, wire.detail("图片不存在: " .. id) end
  if not digest then return 500, wire.detail("图像无法解码: " .. why) end
  if auto_index and not control.is_lost(id) then
    local ok, err = index.put(id, digest, path, read_text(query, "tags") or "")
    if not ok then return 500, wire.detail("索引失败: " .. err) end
  end
  local parts = { '{"status":"success","message":"图像嵌入生成成功","data":[{"index":0,"embedding":' }
  vectors.append(parts, digest)
  table.insert(parts, (',"dimension":%d}]}'):format(vectors.dimension))
  return 200, parts
end

local function look_up(_, id)
  local record = index.get(id)
  if not record then return 404, wire.detail("向量不存在: " .. id) end
  local parts = { '{"status":"success","data":' }
  append_record(parts, record)
  table.insert(parts, "}")
  return 200, parts
end

local function look_up_many(query)
  if not query.ids then return 422, wire.invalid({ { "missing", "ids", "Field required" } }) end
  local parts, seen, total = { '{"status":"success","data":[' }, {}, 0
  for _, id in ipairs(query.ids) do
    if not is_point_id(id) then
      return 500, wire.detail("批量获取向量失败: " .. id .. " is not a valid point ID, valid values are either an unsigned integer or a UUID")
    end
    local record = not seen[id] and index.get(id)
    seen[id] = true
    if record then
      if total > 0 then table.insert(parts, ",") end
      append_record(parts, record)
      total = total + 1
    end
  end
  table.insert(parts, ('],"total":%d}'):format(total))
  return 200, parts
end

local function list(query)
  local problems = {}
  local limit = read_limit(query, problems)
  if #problems > 0 then return 422, wire.invalid(problems) end
  local offset = read_text(query, "offset")
  if offset == "" then return 500, wire.detail("获取向量列表失败: offset is not a valid point ID") end
  local items = {}
  for i, record in ipairs(index.page(offset, limit)) do
    items[i] = '{"id":' .. wire.quote(record.id) .. ',"score":1.0,"metadata":' .. metadata(record) .. "}"
  end
  return 200, ('{"status":"success","message":"获取到 %d 条记录","data":['):format(#items)
    .. table.concat(items, ",") .. ('],"total":%d}'):format(#items)
end

-- Qdrant deletes what is not there with success, too.
local function delete(_, id)
  index.delete(id)
  return 200, '{"status":"success","message":"向量已删除"}'
end

local function count()
  return 200, ('{"status":"success","count":%d}'):format(index.count())
end

local function health()
  return 200, '{"status":"healthy"}'
end

local function status()
  return 200, ('{"status":"running","dimension":%d,"count":%d}'):format(vectors.dimension, index.count())
end

local ROUTES = {
  ["/api/v1/embedding/image"] = { POST = embed },
  ["/api/v1/vectors/"] = { GET = list },
  ["/api/v1/vectors/batch/get"] = { GET = look_up_many },
  ["/api/v1/vectors/stats/count"] = { GET = count },
  ["/api/v1/vectors/{id}"] = { GET = look_up, DELETE = delete },
  ["/health"] = { GET = health },
  ["/status"] = { GET = status },
}

-- Name of the route that a decoded path takes, and the id in it.
local function find_route(path)
  if ROUTES[path] then return path end
  local id = path:match("^/api/v1/vectors/(.+)$")
  if id then return "/api/v1/vectors/{id}", id end
  return "other"
end

local function not_allowed(methods)
  local names = {}
  for name in pairs(methods) do table.insert(names, name) end
  table.sort(names)
  ngx.header["Allow"] = table.concat(names, ", ")
  return 405, wire.detail("Method Not Allowed")
end

local function serve(method, path, query, target)
  local route, id = find_route(path)
  local methods = ROUTES[route]
  control.enter(method .. " " .. route)
  if not methods then return 404, wire.detail("Not Found") end
  if path:find("^/api/") then
    local refused, body = control.hinder(method .. " " .. target, methods.POST ~= nil)
    if refused then return refused, body end
  end
  local handler = methods[method]
  if not handler then return not_allowed(methods) end
  return handler(query, id)
end

local M = { leave = control.leave }

--- Answer the current request.
function M.answer()
  local method = ngx.req.get_method()
  local path, query = wire.parse_target(ngx.var.request_uri)
  if path == "/_control" then
    local handler = control.routes[method]
    if not handler then return wire.send(not_allowed(control.routes)) end
    return wire.send(handler())
  end
  wire.send(serve(method, path, query, wire.decode(ngx.var.request_uri)))
end

return M
