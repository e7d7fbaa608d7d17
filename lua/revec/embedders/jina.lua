--- Jina AI's embeddings API (api.jina.ai/openapi.json; models jina-clip-v2, jina-embeddings-v4).
--
-- Limits: 500 requests and 1 M tokens a minute, 5 requests at once without paying; how many images a request may have is not
-- documented. Dimensions 64 to 1024 (jina-clip-v2), 128 to 2048 (jina-embeddings-v4).

local service = require "revec.embedders.service"

local function new(settings)
  return service.adapter(settings, {
    kind = "jina", endpoint = "/embeddings", per_request = 8,
    fields = { model = settings.model, normalized = true, embedding_type = "float", dimensions = settings.dimension },
    list = { '"input":[', "]" }, item = { '{"image":"', '"}' }, bare = true,
    vectors = "data[].embedding", vector_index = "data[].index",
  })
end

return { new = new, defaults = { url = "https://api.jina.ai/v1", model = "jina-clip-v2", token_env = "JINA_API_KEY" } }
