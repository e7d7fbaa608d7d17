--- Alibaba Cloud's DashScope, multimodal embeddings (help.aliyun.com/zh/model-studio/multimodal-embedding-api-reference, February 2026).
-- https://dashscope-intl.aliyuncs.com/api/v1 is the same in Singapore, with the tongyi models only, and keys of its own.
--
-- Limits, of one request: qwen3-vl-embedding (2560 numbers, or 2048 to 256) one image of 5 MB; tongyi-embedding-vision-plus (1152,
-- or 1024 to 64) and -flash (768, or 512 to 64) 8 images of 3 MB; multimodal-embedding-v1 (1024) images of 3 MB, where pages
-- differ on whether one or 8, and 120 requests a minute.

local service = require "revec.embedders.service"

local function new(settings)
  return service.adapter(settings, {
    kind = "dashscope", endpoint = "/services/embeddings/multimodal-embedding/multimodal-embedding", most = 20,
    per_request = tostring(settings.model):find("^tongyi%-embedding%-vision") and 8 or 1,
    fields = { model = settings.model, parameters = settings.dimension and { dimension = settings.dimension } },
    list = { '"input":{"contents":[', "]}" }, item = { '{"image":"', '"}' },
    vectors = "output.embeddings[].embedding", vector_index = "output.embeddings[].index",
    throttle = { "Throttling" }, denied = { "Arrearage", "InvalidApiKey" },
  })
end

return { new = new,
  defaults = { url = "https://dashscope.aliyuncs.com/api/v1", model = "qwen3-vl-embedding", token_env = "DASHSCOPE_API_KEY" } }
