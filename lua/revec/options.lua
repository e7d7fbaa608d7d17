--- The options of a rebuild: one table feeds the library, the flags, the config file, --help and doc/options.md.
--
-- A type is one of: string, url, integer, number, amount (a number or a share), boolean (a flag), strings (an array; the
-- flag may be repeated; glob: of patterns), list (an array; the flag takes it separated by commas), choice, size, time and
-- shard (units.lua), service (a name, URL or file, without a flag a table or function too: adapters.lua); and, without a
-- flag, hook (a function) and listener (a function or a table of them).
-- `cli` marks what only the command takes. A number's range is min..max, both included; `word` is taken in its place.
-- `also` is another name.

local core = require "revec.core"
local units = require "revec.units"

local list = {
  -- As the guide documents them.
  { name = "api_url", type = "url", default = "http://localhost:8000", metavar = "URL", group = "documented",
    en = "base URL of the backend", zh = "后端 API 基础 URL" },
  { name = "storage_path", type = "string", default = "./storage", metavar = "DIR", group = "documented",
    en = "folder of the images", zh = "存储路径" },
  { name = "max_concurrent", type = "integer", default = 5, min = 1, max = 256, word = "auto", group = "documented",
    en = "requests in flight at once, of every sort; auto finds out what the backend bears, up to 256",
    zh = "最大并发数（所有请求合计）；auto 自动探测后端能承受的并发数，上限 256" },
  { name = "batch_size", type = "integer", default = 10, min = 1, max = 1000, group = "documented",
    en = "images in one progress batch, and in one look-up (at most 100); never a barrier",
    zh = "批量处理大小（进度显示，以及一次查询的图像数，至多 100；不形成等待）" },
  { name = "max_retries", type = "integer", default = 3, min = 0, max = 1000, group = "documented",
    en = "retries after the first attempt, per request", zh = "最大重试次数（每个请求）" },
  { name = "retry_delay", type = "number", default = 1.0, min = 0, max = 3600, group = "documented",
    en = "seconds; before retry n (from 0) a random part of retry_delay * 2^n, at most 60",
    zh = "重试延迟（秒）；第 n 次重试（从 0 起）前随机等待至多 retry_delay * 2^n 秒，上限 60 秒" },
  { name = "force_reindex", type = "boolean", group = "documented",
    en = "embed every image, indexed or not", zh = "强制重新索引所有图像" },
  { name = "no_skip_indexed", type = "boolean", group = "documented",
    en = "do not ask what is indexed already: embed every image", zh = "不跳过已索引的图像" },
  { name = "limit", type = "integer", min = 1, max = 2 ^ 53, group = "documented",
    en = "only the first N images, in the order of their paths", zh = "限制处理的图像数量" },
  { name = "verbose", type = "boolean", cli = true, group = "documented",
    en = "log every request's end", zh = "详细输出" },

  -- Which images.
  { name = "ext", type = "list", default = { "jpg", "jpeg", "png", "gif", "webp", "bmp" }, metavar = "LIST", group = "images",
    en = "extensions of images, in any case, separated by commas", zh = "图像扩展名（不分大小写，逗号分隔）" },
  { name = "include", type = "strings", glob = true, metavar = "GLOB", group = "images",
    en = "only images that match this pattern, or another of them", zh = "只取匹配该模式的图像，可重复" },
  { name = "exclude", type = "strings", glob = true, metavar = "GLOB", group = "images",
    en = "no images that match this pattern; no folders either: they are not opened", zh = "排除匹配该模式的图像和目录（目录不会被打开），可重复" },
  { name = "min_size", type = "size", metavar = "SIZE", group = "images",
    en = "only files of at least so many bytes; k, M, G: of 1024", zh = "文件大小下限（字节；k、M、G 以 1024 为底）" },
  { name = "max_size", type = "size", metavar = "SIZE", group = "images",
    en = "only files of at most so many bytes", zh = "文件大小上限（字节）" },
  { name = "newer_than", type = "time", metavar = "TIME", group = "images",
    en = "only files modified after a date (2026-01-25 [12:30[:00]]), @Unix seconds or an age (90s, 30m, 12h, 7d, 2w)",
    zh = "只取此后修改的文件：日期（2026-01-25 [12:30[:00]]）、@Unix 秒或时长（90s、30m、12h、7d、2w）" },
  { name = "files_from", type = "string", metavar = "FILE", group = "images",
    en = "take paths from this file (-: standard input) instead of walking", zh = "从该文件（- 为标准输入）读取路径，不扫描目录" },
  { name = "shard", type = "shard", metavar = "K/N", group = "images",
    en = "only the images of shard K of N, by their ids; auto: as SLURM or Kubernetes says",
    zh = "只处理 N 份中的第 K 份（按 id 划分）；auto 取自 SLURM 或 Kubernetes" },
  { name = "id", type = "choice", choices = { "stem", "path", "sha256" }, default = "stem", group = "images",
    en = "how an image's id is made: its name without extension, its path in the storage, or a hash of its bytes; "
      .. "the last two with --direct only",
    zh = "图像 id：文件名（不含扩展名）、存储内路径，或内容哈希；后两种仅用于 --direct" },
  { name = "tags", type = "string", metavar = "A,B", group = "images",
    en = "tags sent along with every image", zh = "随每张图像发送的标签" },
  { name = "check", type = "choice", choices = { "auto", "each", "batch", "list" }, default = "auto", group = "images",
    en = "how to find out what is indexed: each image by itself, a batch at once, or by the index's list, read first; "
      .. "auto: batches, and the list when there are many images",
    zh = "如何判断是否已索引：each 逐张查询，batch 每次查询一批，list 先列出整个索引；auto 用 batch，图像多时改用 list" },
  { name = "verify", type = "boolean", group = "images",
    en = "look up what was embedded before telling it as success; missing: once more, then failed",
    zh = "嵌入后再查询确认；查不到则重做一次，仍查不到记为失败" },
  { name = "retry_failed", type = "string", metavar = "FILE", group = "images",
    en = "only the images of this failure record", zh = "只处理该失败记录中的图像" },
  { name = "max_failures", type = "amount", metavar = "N|N%", group = "images",
    en = "stop once so many failed, or such a share of at least a hundred", zh = "失败达到该数量（或至少一百张中的该比例）后停止" },
  { name = "dry_run", type = "boolean", group = "images",
    en = "walk, filter and count; make no request", zh = "试运行：只扫描、过滤和计数，不发请求" },

  -- Without a backend in between.
  { name = "direct", type = "boolean", group = "direct",
    en = "embed with a service and write to a vector database, without a backend; by itself: on this machine alone",
    zh = "直连模式：不经后端 API，直接调用嵌入服务并写入向量数据库；单用时全在本机完成" },
  { name = "embedder", type = "service", metavar = "NAME|URL|FILE.lua", group = "direct",
    en = "what embeds images: mpeg7 (this machine, the default), jina, cohere, voyage, dashscope, openai+URL#MODEL, vllm+URL#MODEL, "
      .. "the URL of a plain service, or a Lua file",
    zh = "嵌入服务：mpeg7（本机，默认）、jina、cohere、voyage、dashscope、openai+URL#MODEL、vllm+URL#MODEL、普通服务的 URL，或 Lua 文件" },
  { name = "index", type = "service", metavar = "FILE|KIND+URL", group = "direct",
    en = "where vectors go: an SQLite file (default: index.sqlite), qdrant+URL/COLLECTION, likewise chroma, milvus, "
      .. "elasticsearch, opensearch, or postgresql://…",
    zh = "向量写入何处：SQLite 文件（默认 index.sqlite）、qdrant+URL/集合名（chroma、milvus、elasticsearch、opensearch 同理），或 postgresql://…" },
  { name = "recreate", also = "force_recreate", type = "boolean", group = "direct",
    en = "drop the collection and build it anew, after asking; also --force-recreate", zh = "删除集合并重建（会先询问）；亦作 --force-recreate" },
  { name = "swap", type = "boolean", group = "direct",
    en = "with --recreate: build beside the old collection, try the new one, switch in one step and keep the old for --rollback",
    zh = "与 --recreate 同用：在旧集合旁新建，校验后一步切换，旧集合留待 --rollback" },
  { name = "rollback", type = "boolean", cli = true, group = "direct",
    en = "switch back to the collection before the last --swap; nothing is embedded", zh = "切回上次 --swap 之前的集合，不做嵌入" },
  { name = "yes", type = "boolean", cli = true, group = "direct",
    en = "do not ask before dropping a collection", zh = "删除集合前不询问" },

  -- How to talk to the backend.
  { name = "timeout", type = "number", default = 60, min = 0.001, max = 86400, metavar = "S", group = "transport",
    en = "seconds for one attempt", zh = "单次请求超时（秒）" },
  { name = "connect_timeout", type = "number", default = 5, min = 0.001, max = 86400, metavar = "S", group = "transport",
    en = "seconds to connect", zh = "连接超时（秒）" },
  { name = "down_timeout", type = "number", default = 60, min = 0, max = 2592000, metavar = "S", group = "transport",
    en = "seconds that the backend may be gone in mid-run, or refuse everything as throttled, before the run ends",
    zh = "运行中后端失联（或持续限流）多少秒后结束" },
  { name = "rate", type = "number", min = 0.001, max = 1000000, metavar = "N", group = "transport",
    en = "at most N requests per second, spread evenly", zh = "每秒至多 N 个请求，均匀发送" },
  { name = "header", type = "strings", metavar = "'K: V'", group = "transport",
    en = "a header sent with every request; may be repeated", zh = "随每个请求发送的请求头，可重复" },
  { name = "token_env", type = "string", metavar = "NAME", group = "transport",
    en = "environment variable that holds the bearer token", zh = "存放 Bearer 令牌的环境变量名" },
  { name = "cacert", type = "string", metavar = "FILE", group = "transport",
    en = "certificates to trust, instead of the system's", zh = "信任的 CA 证书文件" },
  { name = "cert", type = "string", metavar = "FILE", group = "transport", en = "our certificate", zh = "客户端证书" },
  { name = "key", type = "string", metavar = "FILE", group = "transport", en = "its private key", zh = "客户端私钥" },
  { name = "insecure", type = "boolean", group = "transport",
    en = "do not verify the server's certificate", zh = "不验证服务器证书" },
  { name = "proxy", type = "string", metavar = "URL", group = "transport",
    en = "proxy, instead of what http_proxy and https_proxy say", zh = "代理，优先于 http_proxy 和 https_proxy" },
  { name = "unix_socket", type = "string", metavar = "PATH", group = "transport",
    en = "connect to this socket instead of the URL's host", zh = "改为连接该 Unix 套接字" },
  { name = "http2", type = "boolean", group = "transport",
    en = "use HTTP/2 where the server offers it", zh = "服务器支持时使用 HTTP/2" },
  { name = "nice", type = "integer", default = 0, min = 0, max = 19, metavar = "N", group = "transport",
    en = "how far the threads for requests and the walk give way to others: 0 not, 19 wholly",
    zh = "请求线程和扫描线程对其他线程的让步程度：0 不让，19 完全让步" },

  -- What is told, and where.
  { name = "failed_dir", type = "string", default = ".", metavar = "DIR", group = "output",
    en = "where failed_images_YYYYMMDD_HHMMSS.json goes", zh = "失败记录所在目录" },
  { name = "config", type = "string", cli = true, metavar = "FILE.lua", group = "output",
    en = "a Lua file that returns a table of options and hooks; flags take precedence", zh = "返回选项和钩子的 Lua 文件；命令行参数优先" },
  { name = "lang", type = "choice", choices = { "zh", "en" }, cli = true, group = "output",
    en = "language of messages; by default that of LC_ALL, LC_MESSAGES or LANG", zh = "消息语言，默认取自 LC_ALL、LC_MESSAGES 或 LANG" },
  { name = "log_format", type = "choice", choices = { "text", "json" }, default = "text", cli = true, group = "output",
    en = "one line of text or one JSON object per message", zh = "日志格式" },
  { name = "quiet", type = "boolean", cli = true, group = "output",
    en = "only warnings, errors and the final statistics", zh = "只显示警告、错误和最终统计" },
  { name = "progress", type = "choice", choices = { "auto", "always", "never" }, default = "auto", cli = true, group = "output",
    en = "a progress bar; auto shows it on a terminal", zh = "进度条；auto 表示仅在终端显示" },

  -- Hooks: functions of the library and of the config file. doc/hooks.md says what each takes and gives.
  { name = "filter", type = "hook", en = "filter(image) -> boolean: whether to take the image" },
  { name = "make_id", type = "hook", alias = "id", en = "id(image) -> string: the image's id" },
  { name = "make_tags", type = "hook", alias = "tags", en = "tags(image) -> string or nil: the image's tags" },
  { name = "on_success", type = "hook", en = "on_success(image, answer)" },
  { name = "on_skip", type = "hook", en = "on_skip(image)" },
  { name = "on_failure", type = "hook", en = 'on_failure(image, failure) -> "record", "ignore", "retry" or "stop"' },
  { name = "on_progress", type = "hook", en = "on_progress(snapshot): at most ten times a second, and at the end" },
  { name = "on_event", type = "listener", en = "on_event(name, …): everything that happens; or a table of functions by name" },
  { name = "on_done", type = "hook", en = "on_done(report)" },
}

local by_name = {}
for _, option in ipairs(list) do
  by_name[option.name] = option
  if option.also then by_name[option.also] = option end
end

-- How many letters to insert, delete, replace or swap to make b of a.
local function distance(a, b)
  local before, last
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    before, last, row = last, row, { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
  end
  return row[#b]
end

--- The name in names nearest to a mistyped one, or nil when none is near.
local function nearest(name, names)
  local best, least = nil, math.max(2, math.floor(#name / 3)) + 1
  for _, candidate in ipairs(names) do
    local d = distance(name, candidate)
    if d < least then best, least = candidate, d end
  end
  return best
end

--- A URL, or what was meant as one, without what stands before an @: that is nobody's business. A password may hold what should have
-- been escaped in it, so the last @ counts, wherever it is.
local function redact(url)
  local scheme, rest = url:match("^([%w+.-]+://)(.*)$")
  return (scheme or "") .. (rest or url):gsub("^.*@", "***@")
end

--- A value as it would be written, short enough for one line.
local function show(value)
  if type(value) == "string" then return '"' .. core.fit(core.clean(value), 60) .. '"' end
  if type(value) == "number" then return (string.format("%.14g", value)) end
  return type(value) == "table" and "a table" or type(value) == "function" and "a function" or tostring(value)
end

local function range_of(option)
  if option.max >= 2 ^ 53 then return "of at least " .. option.min end
  return string.format("%.14g..%.14g%s", option.min, option.max, option.word and " or " .. option.word or "")
end

local function as_number(option, value)
  if option.word and value == option.word then return value end
  local n = type(value) == "string" and tonumber(value) or value
  if type(n) ~= "number" or n ~= n or n < option.min or n > option.max
    or (option.type == "integer" and n ~= math.floor(n)) then
    return nil, string.format("%s %s expected", option.type, range_of(option))
  end
  -- 5.4 knows 12 and 12.0 apart and would print the latter; elsewhere they are the same.
  return option.type == "integer" and tonumber(string.format("%.0f", n)) or n
end

local function as_strings(option, value)
  if type(value) ~= "table" then return nil, "array of strings expected" end
  local copy, keys = {}, 0
  for i, item in ipairs(value) do
    if type(item) ~= "string" or item:find("[%z\r\n]") then return nil, "strings without line breaks expected in the array" end
    local bad = option.glob and core.glob_error(item)
    if bad then return nil, "patterns expected (" .. bad .. ": " .. show(item) .. ")" end
    copy[i] = item
  end
  for _ in pairs(value) do keys = keys + 1 end
  if keys ~= #copy then return nil, "array of strings expected, without other keys and without holes" end
  return copy
end

local check = {
  integer = as_number,
  number = as_number,
  strings = as_strings,
  string = function(_, value)
    if type(value) ~= "string" or value == "" or value:find("%z") then return nil, "a string expected, not empty" end
    return value
  end,
  url = function(_, value)
    if type(value) ~= "string" or not value:find("^[Hh][Tt][Tt][Pp][Ss]?://[^/%c ]") or value:find("[%c ]") then
      return nil, "a URL that begins with http:// or https:// expected"
    end
    return value
  end,
  boolean = function(_, value)
    if type(value) ~= "boolean" then return nil, "true or false expected" end
    return value
  end,
  amount = function(_, value)
    local text = type(value) == "number" and string.format("%.14g", value) or value
    if type(text) ~= "string" or not text:find("^[1-9]%d*%%?$") or (text:find("%%") and tonumber(text:match("%d+")) > 100) then
      return nil, "a number of at least 1, or a share such as 5%, expected"
    end
    return text
  end,
  size = function(_, value)
    local bytes = units.size(value)
    if not bytes then return nil, "bytes expected, as 500, 100k, 20M or 1G" end
    return bytes
  end,
  time = function(_, value)
    local time = units.time(value)
    if not time then return nil, "a date (2026-01-25 or 2026-01-25 12:30:00), @Unix seconds or an age (90s, 30m, 12h, 7d, 2w) expected" end
    return time
  end,
  shard = function(_, value)
    if value == "auto" then return value end
    local k, n = units.shard(type(value) == "string" and value or "")
    if not k then return nil, n .. ", or auto" end
    return value
  end,
  choice = function(option, value)
    for _, choice in ipairs(option.choices) do
      if value == choice then return value end
    end
    return nil, "one of " .. table.concat(option.choices, ", ") .. " expected"
  end,
  list = function(option, value)
    if type(value) == "string" then
      local items = {}
      for item in value:gmatch("[^,]+") do items[#items + 1] = item:match("^%s*(.-)%s*$") end
      value = items
    end
    local copy, why = as_strings(option, value)
    if copy and #copy == 0 then return nil, "at least one expected" end
    return copy, why
  end,
  service = function(_, value)
    if type(value) == "table" or type(value) == "function" or (type(value) == "string" and value ~= "" and not value:find("%c")) then
      return value
    end
    return nil, "a name, a URL, a file, or a table of settings expected"
  end,
  listener = function(_, value)
    local bad = type(value) ~= "table" and type(value) ~= "function"
    for _, listener in pairs(type(value) == "table" and value or {}) do bad = bad or type(listener) ~= "function" end
    if bad then return nil, "a function, or a table of functions by the names of events, expected" end
    return value
  end,
  hook = function(_, value)
    if type(value) ~= "function" then return nil, "a function expected" end
    return value
  end,
}

local M = { list = list, by_name = by_name, nearest = nearest, redact = redact, show = show }

--- One option's value, checked: as the option's type has it; or nil and "… expected, got …".
function M.check(option, value)
  local checked, why = check[option.type](option, value)
  if checked ~= nil then return checked end
  if type(value) == "string" and (option.type == "url" or option.type == "service" or option.name == "proxy") then value = redact(value) end
  return nil, why .. ", got " .. show(value)
end

-- `id` and `tags` take a function as well: the hook of that name.
local function find(key, value)
  if type(value) == "function" then
    for _, option in ipairs(list) do
      if option.alias == key then return option end
    end
  end
  return by_name[key]
end

--- What of resolved options does not go together; or nil.
-- @return one line that begins with an option's name
function M.conflict(values)
  if values.direct then
    if values.swap and not values.recreate then return "swap: only with recreate: it says how that is done" end
    if values.recreate and values.retry_failed then return "recreate: not together with retry_failed, which is a part of the images" end
    if values.swap and values.shard then return "swap: not together with shard, which is a part of the images" end
    if values.check == "each" or values.check == "list" then return "check: a direct rebuild looks images up in batches" end
    return nil
  end
  for _, name in ipairs { "embedder", "index", "recreate", "swap", "rollback" } do
    if values[name] then return name .. ": only with direct" end
  end
  if values.id ~= "stem" then return "id: the backend knows images by the names of their files: " .. values.id .. " only with direct" end
end

--- A table of options as a caller gave it, copied, checked, with defaults.
-- @param given table; never changed
-- @param for_command whether options that only the command takes are allowed too
-- @return table, or nil and one line: which option, what is expected, what was got
function M.resolve(given, for_command)
  if type(given) ~= "table" then return nil, "a table of options expected, got " .. type(given) end
  local values, names = {}, {}
  for _, option in ipairs(list) do
    values[option.name] = option.default
    if not option.alias and (for_command or not option.cli) then names[#names + 1] = option.name end
  end
  for key, value in pairs(given) do
    local option = find(key, value)
    if not option or (option.cli and not for_command) or key == option.name and option.alias then
      local guess = type(key) == "string" and nearest(key, names)
      return nil, string.format("%s: no such option%s", show(key), guess and ": did you mean " .. guess .. "?" or "")
    end
    local checked, why = M.check(option, value)
    if checked == nil then return nil, key .. ": " .. why, option end
    values[option.name] = checked
  end
  return values
end

return M
