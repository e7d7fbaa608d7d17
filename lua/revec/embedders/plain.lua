--- Any service that takes a file and answers with its vector: POST of the bytes → {"embedding":[…]}.
--
-- Settings of its own: `form`, the field of a form (multipart/form-data) to send files in, where `fields` are the others and
-- several images may go at once; `vectors` and `vector_index`, where the answer has the vectors ("embedding"), as engine:route
-- has them. So Nomic's API is:
--
--   { kind = "plain", url = "https://api-atlas.nomic.ai/v1/embedding/image", token_env = "NOMIC_API_KEY", form = "images",
--     model = "nomic-embed-vision-v1.5", fields = { model = "nomic-embed-vision-v1.5" }, vectors = "embeddings[]" }

local core = require "revec.core"
local service = require "revec.embedders.service"

-- As browsers write a name between quotes.
local escapes = { ['"'] = "%22", ["\r"] = "%0D", ["\n"] = "%0A" }
local function quote(name) return '"' .. name:gsub('["\r\n]', escapes) .. '"' end

-- What no file has in it, as nobody can know it before.
local function new_boundary()
  local file, why = io.open("/dev/urandom", "rb")
  if not file then return nil, "form: " .. why end
  local bytes = file:read(24)
  file:close()
  return core.base64(bytes):gsub("[+/]", "-")
end

local function forms(boundary, name, fields)
  local head = {}
  for key, value in pairs(fields) do
    head[#head + 1] = ("--%s\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n"):format(boundary, quote(tostring(key)),
      tostring(value))
  end
  table.sort(head)
  head = table.concat(head)
  return function(images)
    local body = { head }
    for _, image in ipairs(images) do
      body[#body + 1] = ("--%s\r\nContent-Disposition: form-data; name=%s; filename=%s\r\nContent-Type: %s\r\n\r\n"):format(boundary,
        quote(name), quote(image.filename), service.media_type(image))
      body[#body + 1] = { file = image.path }
      body[#body + 1] = "\r\n"
    end
    body[#body + 1] = "--" .. boundary .. "--\r\n"
    return body
  end
end

local function files(images)
  return { { file = images[1].path } }
end

local function new(settings)
  for _, name in ipairs { "form", "vectors", "vector_index" } do
    local value = settings[name]
    if value ~= nil and (type(value) ~= "string" or value == "") then return nil, name .. ": a text expected, not empty" end
  end
  local asked = { kind = "plain", vectors = settings.vectors or "embedding", vector_index = settings.vector_index }
  if settings.form then
    local boundary, why = new_boundary()
    if not boundary then return nil, why end
    asked.body = forms(boundary, settings.form, settings.fields or {})
    asked.headers = { "Content-Type: multipart/form-data; boundary=" .. boundary }
  elseif settings.fields then
    return nil, "fields: only with form"
  else
    asked.body, asked.most, asked.headers = files, 1, { "Content-Type: application/octet-stream" }
  end
  return service.adapter(settings, asked)
end

return { new = new, defaults = { model = "plain" } }
