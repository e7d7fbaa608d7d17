--- Services that take images as OpenAI's embeddings API takes texts, such as infinity (michaelfeil/infinity, 0.0.77). OpenAI's own takes
-- no images.
--
-- Limits: 32 images a request (infinity: ITEMS_LIMIT_SMALL in fastapi_schemas/pydantic_v2.py); one damaged image fails all of them.
-- With a dimension, vectors are shortened where the model can do so.

local service = require "revec.embedders.service"

local function new(settings)
  return service.adapter(settings, {
    kind = "openai", endpoint = "/embeddings", per_request = 8, most = 32,
    fields = { model = settings.model, modality = "image", encoding_format = "float", dimensions = settings.dimension },
    list = { '"input":[', "]" }, item = { '"', '"' },
    vectors = "data[].embedding", vector_index = "data[].index",
    throttle = { "rate_limit_exceeded" }, denied = { "insufficient_quota", "invalid_api_key" },
  })
end

return { new = new }
