--- Voyage AI's multimodal embeddings (docs.voyageai.com/docs/multimodal-embeddings; models voyage-multimodal-3.5, voyage-multimodal-3).
--
-- Limits: 1000 images a request, 20 MB and 16 million pixels an image; 32,000 tokens an image and 320,000 a request, 560 pixels being one:
-- of the largest images 11. png, jpeg, webp, gif. Dimensions 256, 512, 1024, 2048 (3.5).

local service = require "revec.embedders.service"

local function new(settings)
  return service.adapter(settings, {
    kind = "voyage", endpoint = "/multimodalembeddings", per_request = 8, most = 1000,
    fields = { model = settings.model, input_type = "document", output_dimension = settings.dimension },
    list = { '"inputs":[', "]" }, item = { '{"content":[{"type":"image_base64","image_base64":"', '"}]}' },
    vectors = "data[].embedding", vector_index = "data[].index",
  })
end

return { new = new, defaults = { url = "https://api.voyageai.com/v1", model = "voyage-multimodal-3.5", token_env = "VOYAGE_API_KEY" } }
