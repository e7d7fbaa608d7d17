-- The documented rebuild, end to end: the real command against the stand-in backend on real nginx.
local cjson = require "cjson"
local harness = require "spec.support.harness"

local function rebuild(storage, backend, args, more)
  local all = { "--storage-path", storage, "--api-url", backend.url, "--lang", "zh" }
  for _, argument in ipairs(args or {}) do all[#all + 1] = argument end
  local options = { args = all }
  for key, value in pairs(more or {}) do options[key] = value end
  return harness.run(options)
end

-- The values of the closing statistics.
local function statistics(result)
  local function value(name) return tonumber(result.stderr:match(" %- INFO %- " .. name .. ": ([%d.]+)")) end
  return { total = value("总图像数"), succeeded = value("成功"), failed = value("失败"), skipped = value("跳过") }
end

local function requests(backend, route)
  return backend:counters().requests[route] or 0
end

local EMBED, LOOKUP = "POST /api/v1/embedding/image", "GET /api/v1/vectors/{id}"

describe("lua rebuild.lua", function()
  local storage, backend
  local names = { "2024/01/25/abc123.jpg", "2024/01/25/def456.PNG", "2024/02/01/ghi789.webp", "a.gif", "b.bmp", "c.jpeg" }
  setup(function()
    storage = harness.tree(names)
    harness.write(storage .. "/readme.txt", "no image")
    backend = harness.backend(storage, { dim = 8 })
  end)
  before_each(function() backend:control() end)
  teardown(harness.cleanup)

  it("indexes every image, then skips them all, then re-indexes them by force", function()
    local result = rebuild(storage, backend)
    assert.equal(0, result.code, result.output)
    assert.same({ total = 6, succeeded = 6, failed = 0, skipped = 0 }, statistics(result))
    assert.equal(6, requests(backend, LOOKUP))
    assert.equal(6, requests(backend, EMBED))

    result = rebuild(storage, backend)
    assert.equal(0, result.code)
    assert.same({ total = 6, succeeded = 0, failed = 0, skipped = 6 }, statistics(result))
    assert.equal(6, requests(backend, EMBED))

    result = rebuild(storage, backend, { "--force-reindex" })
    assert.same({ total = 6, succeeded = 6, failed = 0, skipped = 0 }, statistics(result))
    assert.equal(12, requests(backend, EMBED))
    assert.equal(12, requests(backend, LOOKUP))

    result = rebuild(storage, backend, { "--no-skip-indexed" })
    assert.same({ total = 6, succeeded = 6, failed = 0, skipped = 0 }, statistics(result))
    assert.equal(12, requests(backend, LOOKUP))
    assert.same({}, harness.list(result.cwd))
  end)

  it("prints the guide's lines, word for word", function()
    local result = rebuild(storage, backend, { "--max-concurrent", "1", "--limit", "2" })
    local rule = ("="):rep(60)
    local expected = {
      "INFO - " .. rule, "INFO - 开始重建向量索引", "INFO - " .. rule,
      "INFO - 扫描存储路径: " .. storage, "INFO - 找到 2 张图像",
      "INFO - 处理批次 1/1 (1-2/2)",
      "INFO - 处理图像: abc123.jpg (abc123)", "INFO - 处理图像: def456.PNG (def456)",
      "INFO - ✓ 成功: abc123", "INFO - ✓ 成功: def456",
      "INFO - 进度: 2/2 (100.0%) | 成功: 2 | 失败: 0 | 跳过: 0",
      "INFO - " .. rule, "INFO - 重建完成", "INFO - " .. rule,
      "INFO - 总图像数: 2", "INFO - 成功: 2", "INFO - 失败: 0", "INFO - 跳过: 0",
    }
    local lines = {}
    for line in result.stderr:gmatch("[^\n]+") do
      lines[#lines + 1] = assert(line:match("^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d %- revec %- (.*)$"), line)
    end
    assert.matches("^INFO %- 耗时: %d+%.%d%d 秒$", lines[#expected + 1])
    assert.matches("^INFO %- 平均每张: %d+%.%d%d 秒$", lines[#expected + 2])
    assert.equal(#expected + 2, #lines)
    for i, line in ipairs(expected) do assert.equal(line, lines[i]) end
  end)

  it("takes the same images for a limit, run after run", function()
    for _ = 1, 3 do
      local result = rebuild(storage, backend, { "--limit", "4" })
      assert.equal(4, statistics(result).total)
    end
    assert.equal(4, requests(backend, EMBED))
  end)

  it("tells batches as --batch-size has them, with no barrier between", function()
    backend:control { latency_ms = 30 }
    local result = rebuild(storage, backend, { "--batch-size", "2", "--max-concurrent", "5", "--no-skip-indexed" })
    assert.matches("处理批次 1/3 %(1%-2/6%)\n.*处理批次 2/3 %(3%-4/6%)\n.*处理批次 3/3 %(5%-6/6%)\n", result.stderr)
    assert.equal(5, backend:counters().max_in_flight)
  end)

  it("never has more in flight than --max-concurrent", function()
    backend:control { latency_ms = { 5, 40 } }
    rebuild(storage, backend, { "--max-concurrent", "2" })
    assert.equal(2, backend:counters().max_in_flight)
  end)

  it("records a failure as the guide has it, and exits with 1", function()
    backend:control { fail = { pattern = "image_id=ghi789", status = 500, body = '{"detail":"Internal Server Error"}' } }
    local result = rebuild(storage, backend, { "--max-retries", "2", "--retry-delay", "0.01" })
    assert.equal(1, result.code)
    assert.same({ total = 6, succeeded = 5, failed = 1, skipped = 0 }, statistics(result))
    assert.matches("ERROR %- API 调用失败: 500 %- Internal Server Error\n", result.stderr)
    assert.matches("ERROR %- ✗ 失败: ghi789\n", result.stderr)
    assert.matches("INFO %- 重试: 2\n", result.stderr)
    local name = result.stderr:match("INFO %- 失败记录已保存到: (failed_images_%d+_%d+%.json)\n")
    assert.same({ name }, harness.list(result.cwd))
    local entries = harness.records(result.cwd)[1]
    assert.same({
      { id = "ghi789", filename = "ghi789.webp", path = storage .. "/2024/02/01/ghi789.webp", error = "Internal Server Error",
        kind = "backend_error", status = 500, attempts = 3, sends = 4 },
    }, entries)
  end)

  it("tries again what fails only at first", function()
    backend:control { fail = { pattern = "image_id=a", status = 503, body = "later", times = 2 } }
    local result = rebuild(storage, backend, { "--retry-delay", "0.01" })
    assert.equal(0, result.code)
    assert.equal(6, statistics(result).succeeded)
  end)

  it("waits as a throttled answer asks, and fails no image for it", function()
    backend:control { max_in_flight = 1, latency_ms = 10, retry_after = 1 }
    local result = rebuild(storage, backend, { "--limit", "3", "--max-retries", "0" })
    assert.equal(0, result.code, result.output)
    assert.matches("WARNING %- 速率限制，等待 1%.%d 秒后重试%.%.%.\n", result.stderr)
    assert.equal(3, statistics(result).succeeded)
  end)

  it("says that an image does not exist when the backend says so", function()
    harness.write(storage .. "/late.jpg", "x")
    backend:control { fail = { pattern = "image_id=late", status = 404, body = '{"detail":"图片不存在: late"}' } }
    local result = rebuild(storage, backend)
    os.remove(storage .. "/late.jpg")
    assert.equal(1, result.code)
    assert.matches("WARNING %- 图像不存在: late\n", result.stderr)
    local entries = harness.records(result.cwd)[1]
    assert.equal("图片不存在: late", entries[1].error)
    assert.equal(1, entries[1].attempts)
  end)

  it("takes one of two files with the same id, and tells of the other", function()
    harness.write(storage .. "/z/a.png", "x")
    local result = rebuild(storage, backend)
    os.remove(storage .. "/z/a.png")
    assert.equal(0, result.code)
    assert.same({ total = 6, succeeded = 6, failed = 0, skipped = 0 }, statistics(result))
    assert.matches("WARNING %- 重复的 id，跳过文件: " .. storage:gsub("%p", "%%%0") .. "/z/a%.png %(a%)\n", result.stderr)
    assert.matches("INFO %- 重复: 1\n", result.stderr)
  end)

  it("logs every request's end when verbose", function()
    local result = rebuild(storage, backend, { "--limit", "1", "--verbose" })
    assert.matches("DEBUG %- 请求结束: lookup abc123 %- 404\n.*DEBUG %- 请求结束: embed abc123 %- 200\n", result.stderr)
  end)
end)

describe("ids of any bytes", function()
  teardown(harness.cleanup)

  it("reach the backend as they are", function()
    local stems = { "two words", "a&b", "what?", "#1", "100%", "1+1", "50%25", "c;d", "e=f", "quote'\"", "图片", "line\nbreak",
                    "-dash", "..dots..", "back\\slash" }
    local names = {}
    for i, stem in ipairs(stems) do names[i] = stem .. ".jpg" end
    local storage = harness.tree(names)
    local backend = harness.backend(storage, { dim = 3 })
    local result = rebuild(storage, backend)
    assert.equal(0, result.code, result.output)
    assert.equal(#stems, statistics(result).succeeded)
    assert.equal(#stems, statistics(rebuild(storage, backend)).skipped)
    -- A name that breaks the line does not break the log.
    assert.matches("处理图像: line\\nbreak%.jpg %(line\\nbreak%)\n", result.stderr)
  end)

  it("that are not UTF-8 fail at the backend, with the path's own bytes on record", function()
    local storage = harness.tree { "caf\233.jpg", "ok.jpg" }
    local backend = harness.backend(storage, { dim = 3 })
    local result = rebuild(storage, backend)
    assert.equal(1, result.code)
    assert.same({ total = 2, succeeded = 1, failed = 1, skipped = 0 }, statistics(result))
    local entries = harness.records(result.cwd)[1]
    assert.equal(storage .. "/caf\239\191\189.jpg", entries[1].path)
    local core_free = harness.run { command = { "base64", "-d" }, stdin = entries[1].path_base64 }
    assert.equal(storage .. "/caf\233.jpg", core_free.stdout)
    assert.is_string(cjson.encode(entries))
  end)
end)

describe("the storage", function()
  teardown(harness.cleanup)

  it("may hold links to files, links in circles, hidden files and more", function()
    local storage = harness.tree { "real.jpg", ".hidden.png", "sub/x.gif", "no_extension", ".jpg" }
    harness.shell("cd '" .. storage .. "' && ln -s real.jpg link.jpg && ln -s . loop && ln -s nowhere.jpg dangling.jpg"
      .. " && ln -s ../sub sub/again && mkfifo pipe.jpg && mkdir folder.jpg")
    local backend = harness.backend(storage, { dim = 3 })
    local result = rebuild(storage, backend, {}, { timeout = 20 })
    assert.same({ 4, 4 }, { statistics(result).total, statistics(result).succeeded }, result.output)
  end)
end)
