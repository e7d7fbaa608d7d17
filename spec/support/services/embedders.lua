-- The contract server of embedding services; see README.md. A server's source is:
--
--   return (require("spec.support.services.embedders"))("FOLDER")
--
-- Its URLs are /SERVICE/BEHAVIOUR and then the service's own. Each image that it gets has to be, byte for byte, one of the folder's
-- files, which are named by numbers: a file's vector begins with its number.
--
-- Behaviours: good; reversed (the last first); fewer (the last is left out); nan, zeros, empty, words (what the vector of file 2 is);
-- broken (file 2 is a damaged image); busy, busy_for (429 at first, with Retry-After); error (200 with an error); html; many (413);
-- limit, arrears (how DashScope refuses)

local cjson = require("cjson.safe")
local lfs = require("lfs")
local mime = require("mime")

local KEY = "secret"
local DIMENSION = 2

-- ---- what is asked ----

local function want(condition, why)
  if not condition then error({ why = why }, 0) end
  return condition
end

-- An object with these fields, of these types, and no others; "?" in front: it may be missing.
local function object(value, fields)
  want(type(value) == "table", "an object expected")
  for name, kind in pairs(fields) do
    local optional = kind:sub(1, 1) == "?"
    if value[name] ~= nil or not optional then want(type(value[name]) == kind:gsub("^?", ""), name .. ": wrong type") end
  end
  for name in pairs(value) do want(fields[name], tostring(name) .. ": unknown field") end
  return value
end

-- The only element of an array.
local function only(list)
  want(type(list) == "table" and #list == 1 and next(list, 1) == nil, "an array of one expected")
  return list[1]
end

local function decode(text)
  want(type(text) == "string" and #text % 4 == 0 and text:find("^[A-Za-z0-9+/]+=?=?$"), "not base64")
  return mime.unb64(text)
end

local media = { ["image/jpeg"] = true, ["image/png"] = true, ["image/webp"] = true, ["image/gif"] = true, ["image/bmp"] = true }

local function data_uri(text)
  local kind, data = want(type(text) == "string" and text, "a text expected"):match("^data:([^;,]+);base64,(.*)$")
  want(media[kind or ""], "no data URI of an image")
  return decode(data)
end

local function map(list, f, most)
  want(type(list) == "table" and #list > 0, "an array expected")
  want(#list <= (most or 1000), "too many inputs: at most " .. (most or 1000))
  local mapped = {}
  for i, item in ipairs(list) do mapped[i] = f(item) end
  return mapped
end

-- ---- what is answered ----

-- vectors: texts. With the numbers by which they stand in the request, where order has them.
local function data(vectors, order)
  local items = {}
  for i, at in ipairs(order) do items[i] = ('{"object":"embedding","index":%d,"embedding":%s}'):format(at - 1, vectors[at]) end
  return table.concat(items, ",")
end

local function list(vectors, order)
  return '{"object":"list","data":[' .. data(vectors, order) .. '],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}'
end

local function plain_array(vectors, order)
  local items = {}
  for i, at in ipairs(order) do items[i] = vectors[at] end
  return "[" .. table.concat(items, ",") .. "]"
end

local function openai_error(status, why)
  return cjson.encode { error = { message = why, type = "BadRequestError", param = cjson.null, code = status } }
end

local function detail(_, why) return cjson.encode { detail = why } end

local dashscope_codes = { [401] = "InvalidApiKey", [413] = "BadRequest.TooLarge", [429] = "Throttling.RateQuota" }
local tongyi = "^tongyi%-embedding%-vision%-"

local function cohere(body)
  object(body, { model = "string", input_type = "string", embedding_types = "table", inputs = "?table", images = "?table",
    output_dimension = "?number" })
  want(only(body.embedding_types) == "float", "embedding_types")
  if body.model:find("v3", 1, true) then
    want(body.input_type == "image", "input_type")
    return { data_uri(only(body.images)) }, body.output_dimension
  end
  want(body.model == "embed-v4.0" and body.input_type == "search_document", "model or input_type")
  return map(body.inputs, function(input)
    local content = object(only(object(input, { content = "table" }).content), { type = "string", image_url = "table" })
    want(content.type == "image_url", "type")
    return data_uri(object(content.image_url, { url = "string" }).url)
  end, 96), body.output_dimension
end

-- Of each: its path, images(body) → array of bytes and the dimension asked for, answer(vectors, order), error(status, why).
local services = {
  openai = {
    path = "/v1/embeddings",
    images = function(body)
      object(body, { model = "string", input = "table", modality = "string", encoding_format = "string", dimensions = "?number" })
      want(body.modality == "image" and body.encoding_format == "float", "modality or encoding_format")
      return map(body.input, data_uri, 32), body.dimensions
    end,
    answer = list, error = openai_error,
  },
  vllm = {
    path = "/v1/embeddings",
    images = function(body)
      object(body, { model = "string", messages = "table", encoding_format = "string", dimensions = "?number" })
      local message = object(only(body.messages), { role = "string", content = "table" })
      want(message.role == "user" and #message.content <= 2, "role or content")
      local image = object(message.content[1], { type = "string", image_url = "table" })
      local text = message.content[2]
      if text then want(object(text, { type = "string", text = "string" }).text == 'Say "it".', "text") end
      want(image.type == "image_url" and (not text or text.type == "text"), "type")
      return { data_uri(object(image.image_url, { url = "string" }).url) }, body.dimensions
    end,
    answer = list, error = openai_error,
  },
  jina = {
    path = "/v1/embeddings",
    images = function(body)
      object(body, { model = "string", input = "table", normalized = "boolean", embedding_type = "string", dimensions = "?number" })
      want(body.model == "jina-clip-v2" and body.embedding_type == "float", "model or embedding_type")
      return map(body.input, function(input) return decode(object(input, { image = "string" }).image) end), body.dimensions
    end,
    answer = list, error = detail,
  },
  cohere = {
    path = "/v2/embed",
    images = cohere,
    answer = function(vectors, order)
      return '{"id":"1","embeddings":{"float":' .. plain_array(vectors, order) .. '},"texts":[],"images":[],'
        .. '"response_type":"embeddings_by_type","meta":{"api_version":{"version":"2"}}}'
    end,
    error = function(_, why) return cjson.encode { id = "1", message = why } end,
  },
  voyage = {
    path = "/v1/multimodalembeddings",
    images = function(body)
      object(body, { model = "string", inputs = "table", input_type = "string", output_dimension = "?number" })
      want(body.model == "voyage-multimodal-3.5" and body.input_type == "document", "model or input_type")
      return map(body.inputs, function(input)
        local content = object(only(object(input, { content = "table" }).content), { type = "string", image_base64 = "string" })
        want(content.type == "image_base64" and not content.image_base64:find("^data:image/bmp"), "type")
        return data_uri(content.image_base64)
      end), body.output_dimension
    end,
    answer = list, error = detail,
  },
  dashscope = {
    path = "/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding",
    images = function(body)
      object(body, { model = "string", input = "table", parameters = "?table" })
      local many = body.model:find(tongyi)
      want(many or body.model == "qwen3-vl-embedding", "Model not exist.")
      local images = map(object(body.input, { contents = "table" }).contents, function(content)
        return data_uri(object(content, { image = "string" }).image)
      end, many and 8 or 1)
      for _, bytes in ipairs(images) do
        if #bytes > (many and 3 or 5) * 2 ^ 20 then error({ status = 413, why = "Payload Too Large" }, 0) end
      end
      return images, body.parameters and object(body.parameters, { dimension = "number" }).dimension
    end,
    answer = function(vectors, order)
      return '{"output":{"embeddings":[' .. data(vectors, order) .. ']},"usage":{"image_count":1},"request_id":"1"}'
    end,
    error = function(status, why)
      return cjson.encode { code = dashscope_codes[status] or "InvalidParameter", message = why, request_id = "1" }
    end,
  },
  plain = {
    path = "/embed",
    answer = function(vectors) return '{"embedding":' .. vectors[1] .. "}" end,
    error = function(_, why) return cjson.encode { error = why } end,
  },
  form = {
    path = "/embed",
    answer = function(vectors, order) return '{"embeddings":' .. plain_array(vectors, order) .. "}" end,
    error = function(_, why) return cjson.encode { error = why } end,
  },
}

-- The files of a form as RFC 7578 has it, of which every part has to be as it is meant: array of bytes.
local function files_of(request)
  local boundary = want(request.headers["content-type"]:match("^multipart/form%-data; boundary=([%w-]+)$"), "no form")
  local images, fields, rest = {}, {}, "\r\n" .. request.body
  local delimiter = "\r\n--" .. boundary
  while true do
    local start, stop = rest:find(delimiter, 1, true)
    want(start == 1, "a part that does not begin where the one before it ends")
    rest = rest:sub(stop + 1)
    if rest == "--\r\n" then break end
    local head, behind = rest:match("^\r\n(.-\r\n)\r\n(.*)$")
    local ends = want(behind and behind:find(delimiter, 1, true), "a part without an end")
    local name = want(head:match('^Content%-Disposition: form%-data; name="([^"\r\n]*)"'), "a part without a name")
    local filename = head:match('; filename="([^"\r\n]*)"\r\nContent%-Type: image/%w+\r\n$')
    if name == "images" then
      want(filename, "a file without a name or a type")
      images[#images + 1] = behind:sub(1, ends - 1)
    else
      fields[name] = behind:sub(1, ends - 1)
    end
    rest = behind:sub(ends)
  end
  want(fields.model == "m", "model")
  return images
end

local function images_of(service, request)
  if service == services.form then return files_of(request) end
  local kind = request.headers["content-type"] or ""
  if service == services.plain then
    want(kind == "application/octet-stream", "Content-Type")
    return { request.body }
  end
  want(kind == "application/json", "Content-Type")
  return service.images(want(cjson.decode(request.body), "no JSON"))
end

local odd = { nan = "[NaN,1]", zeros = "[0,0.0]", empty = "[]", words = '["a","b"]' }

return function(folder)
  local number_of = {}
  for name in lfs.dir(folder) do
    local number = name:match("^(%d+)")
    if number then
      local file = assert(io.open(folder .. "/" .. name, "rb"))
      number_of[file:read("*a")] = tonumber(number)
      file:close()
    end
  end

  -- Status and body.
  local function serve(service, behaviour, request)
    if request.headers.authorization ~= "Bearer " .. KEY then return 401, service.error(401, "no such key") end
    local ok, images, dimension = pcall(images_of, service, request)
    if not ok then
      local wrong = type(images) == "table" and images or error(images, 0)
      return wrong.status or 400, service.error(wrong.status or 400, wrong.why)
    end
    local vectors, order = {}, {}
    for i, bytes in ipairs(images) do
      local number = number_of[bytes]
      if not number then return 400, service.error(400, "image " .. i .. " is none of the files") end
      if number == 2 and behaviour == "broken" then return 400, service.error(400, "cannot identify image file") end
      vectors[i] = number == 2 and odd[behaviour] or "[" .. number .. (",0.5"):rep((dimension or DIMENSION) - 1) .. "]"
      table.insert(order, behaviour == "reversed" and 1 or i, i)
    end
    if behaviour == "fewer" then order[#order] = nil end
    return 200, service.answer(vectors, order)
  end

  return function(request, reply)
    local name, behaviour, path = request.path:match("^/(%w+)/([%w_]+)(/.*)$")
    local service = services[name]
    if not service then return reply.json(404, '{"detail":"Not Found"}') end
    if request.method ~= "POST" or path ~= service.path then return reply.json(404, service.error(404, "no such path: " .. path)) end
    if behaviour == "busy" and request.seen == 1 then return reply.json(429, service.error(429, "slow down")) end
    if behaviour == "busy_for" and request.seen == 1 then
      return reply.json(429, service.error(429, "slow down"), { ["Retry-After"] = "1" })
    end
    if behaviour == "many" then return reply.json(413, service.error(413, "too many bytes")) end
    if behaviour == "error" then return reply.json(200, service.error(500, "out of memory")) end
    if behaviour == "html" then return reply.send(200, { ["Content-Type"] = "text/html" }, "<html>hello</html>") end
    if behaviour == "limit" and request.seen == 1 then
      return reply.json(400, '{"code":"Throttling.RateQuota","message":"Requests rate limit exceeded","request_id":"1"}')
    end
    if behaviour == "arrears" then
      return reply.json(400, '{"code":"Arrearage","message":"Access denied, please make sure your account is in good standing.","request_id":"1"}')
    end
    reply.json(serve(service, behaviour, request))
  end
end
