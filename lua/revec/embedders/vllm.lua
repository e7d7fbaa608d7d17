--- vLLM (`vllm serve MODEL --runner pooling`): its embeddings API takes an image as a message (docs.vllm.ai, "Pooling Models").
--
-- Limits: one image a request, as messages are one prompt. The setting `text` is a text that goes with each image: some models want
-- one (VLM2Vec: "Represent the given image."), others take none (CLIP). With a dimension, vectors are shortened where the model
-- can do so.

local adapters = require "revec.adapters.common"
local service = require "revec.embedders.service"

local function new(settings)
  if settings.text ~= nil and type(settings.text) ~= "string" then return nil, "text: a string expected, got " .. type(settings.text) end
  local text = settings.text and ',{"type":"text","text":' .. adapters.quote(settings.text) .. "}" or ""
  return service.adapter(settings, {
    kind = "vllm", endpoint = "/embeddings", most = 1,
    fields = { model = settings.model, encoding_format = "float", dimensions = settings.dimension },
    list = { '"messages":[{"role":"user","content":[', text .. "]}]" },
    item = { '{"type":"image_url","image_url":{"url":"', '"}}' },
    vectors = "data[].embedding", vector_index = "data[].index",
  })
end

return { new = new }
