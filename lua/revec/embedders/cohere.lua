--- Cohere's embed API, version 2 (docs.cohere.com/reference/embed; models embed-v4.0, embed-english-v3.0, embed-multilingual-v3.0).
--
-- Limits: of version 4 models 96 images and 20 MB a request, of version 3 models one image of 5 MB; png, jpeg, webp, gif. 5 images a minute
-- with a trial key, 400 in production. Dimensions 256, 512, 1024, 1536 (version 4).

local service = require "revec.embedders.service"

local function new(settings)
  local asked = {
    kind = "cohere", endpoint = "/embed", vectors = "embeddings.float[]",
    fields = { model = settings.model, embedding_types = { "float" }, output_dimension = settings.dimension },
  }
  if tostring(settings.model):find("v3", 1, true) then
    asked.most, asked.fields.input_type = 1, "image"
    asked.list, asked.item = { '"images":[', "]" }, { '"', '"' }
  else
    asked.per_request, asked.most, asked.fields.input_type = 8, 96, "search_document"
    asked.max_bytes = 15 * 10 ^ 6 -- as base64, 20 MB
    asked.list = { '"inputs":[', "]" }
    asked.item = { '{"content":[{"type":"image_url","image_url":{"url":"', '"}}]}' }
  end
  return service.adapter(settings, asked)
end

return { new = new, defaults = { url = "https://api.cohere.com/v2", model = "embed-v4.0", token_env = "CO_API_KEY" } }
