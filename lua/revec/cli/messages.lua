--- What the command says, in its two languages. The Chinese lines are the guide's, word for word where it has them.
-- A message is a format for string.format.

local messages = {
  -- [name] = { zh, en }
  start = { "开始重建向量索引", "Rebuilding the vector index" },
  scan = { "扫描存储路径: %s", "Scanning storage: %s" },
  found = { "找到 %d 张图像", "Found %d images" },
  empty = { "存储路径中没有图像: %s", "No images in the storage: %s" },
  batch = { "处理批次 %d/%s (%d-%d/%s)", "Batch %d/%s (%d-%d/%s)" },
  image = { "处理图像: %s (%s)", "Image: %s (%s)" },
  succeeded = { "✓ 成功: %s", "✓ Succeeded: %s" },
  skipped = { "- 跳过: %s", "- Skipped: %s" },
  failed = { "✗ 失败: %s", "✗ Failed: %s" },
  duplicate = { "重复的 id，跳过文件: %s (%s)", "Another file has this id, passed over: %s (%s)" },
  request = { "请求结束: %s %s - %s", "Request ended: %s %s - %s" },
  throttled = { "速率限制，等待 %.1f 秒后重试...", "Rate limited, trying again in %.1f seconds..." },
  api_failed = { "API 调用失败: %s - %s", "API call failed: %s - %s" },
  call_failed = { "API 调用失败: %s", "API call failed: %s" },
  timeout = { "请求超时: %s", "Request timed out: %s" },
  image_failed = { "图像无法使用: %s - %s", "Image cannot be used: %s - %s" },
  not_found = { "图像不存在: %s", "Image does not exist: %s" },
  not_indexed = { "后端已答复成功，但查不到索引: %s", "The backend answered success, but the image is not indexed: %s" },
  fallback_list = { "无法列出索引，改为分批查询: %s", "The index cannot be listed, asking in groups: %s" },
  fallback_groups = { "无法批量查询，改为逐张查询: %s", "The backend takes no look-ups of many, asking one by one: %s" },
  folder = { "无法读取目录: %s: %s", "Folder cannot be read: %s: %s" },
  entry = { "列表中的路径无法使用: %s: %s", "Path in the list is no use: %s: %s" },
  paused = { "后端无响应，暂停并探测: %s", "Backend is gone, pausing and probing: %s" },
  resumed = { "后端已恢复，继续处理", "Backend is back, going on" },
  progress = { "进度: %d/%s (%s) | 成功: %d | 失败: %d | 跳过: %d", "Progress: %d/%s (%s) | succeeded: %d | failed: %d | skipped: %d" },
  snapshot = { "%s | %.1f 张/秒 | 进行中: %d/%d | 重试: %d | 限流: %d", "%s | %.1f/s | in flight: %d/%d | retries: %d | throttled: %d" },
  stopping = { "收到 %s，等待进行中的请求结束（再次中断立即退出）", "%s received, finishing what is in flight (once more ends at once)" },
  repaired = { "已补全上次中断留下的失败记录: %s", "Record of an interrupted run made: %s" },

  done = { "重建完成", "Rebuild finished" },
  cut = { "重建未完成", "Rebuild not finished" },
  dry = { "试运行完成，未发送任何请求", "Dry run finished, no request was made" },
  total = { "总图像数: %d", "Total images: %d" },
  total_succeeded = { "成功: %d", "Succeeded: %d" },
  total_failed = { "失败: %d", "Failed: %d" },
  total_skipped = { "跳过: %d", "Skipped: %d" },
  total_pending = { "未处理: %d", "Pending: %d" },
  total_filtered = { "已过滤: %d", "Filtered: %d" },
  total_duplicates = { "重复: %d", "Duplicates: %d" },
  total_folders = { "无法读取的目录: %d", "Unreadable folders: %d" },
  total_entries = { "列表中无法使用的路径: %d", "Unusable paths in the list: %d" },
  total_records = { "索引中的记录: %d", "Records in the index: %d" },
  total_retries = { "重试: %d", "Retries: %d" },
  total_throttled = { "限流: %d", "Throttled: %d" },
  found_limit = { "探测到的并发数: %d", "Concurrency found: %d" },
  seconds = { "耗时: %.2f 秒", "Elapsed: %.2f seconds" },
  proxy = { "使用代理: %s", "Using proxy: %s" },
  old_http2 = { "%s 的 HTTP/2 有缺陷（8.4 以前）：可能把不完整的响应当作完整",
                "HTTP/2 of %s is flawed (before 8.4): it may take a cut answer for a whole one" },
  presence = { "--verify 在强制重建后只证明已索引，不证明向量是新的",
               "after a forced run --verify proves that images are indexed, not that their vectors are new" },
  average = { "平均每张: %.2f 秒", "Average per image: %.2f seconds" },
  record = { "失败记录已保存到: %s", "Failures recorded in: %s" },

  why_down = { "后端不可用 (%s): %s。请确认服务正在运行且 --api-url 正确", "Backend out of reach (%s): %s. Is it running, and is --api-url right?" },
  why_down_direct = { "服务不可用 (%s): %s。请确认服务正在运行且 --embedder 和 --index 正确",
                      "Service out of reach (%s): %s. Is it running, and are --embedder and --index right?" },
  why_denied = { "后端拒绝访问 (%s): %s。请检查令牌、密钥或额度", "Backend denies access (%s): %s. Check token, key or quota" },
  why_refused = { "后端没有成功处理任何请求 (%s): %s", "Backend refuses everything (%s): %s" },
  why_hook = { "钩子出错: %s", "Error in a hook: %s" },
  why_record = { "无法记录失败: %s", "Failures cannot be recorded: %s" },
  why_storage = { "存储目录已不存在: %s", "The storage is gone: %s" },
  why_max_failures = { "失败过多，已停止: %s", "Too many failures, stopped: %s" },
  why_stopped = { "已按要求停止: %s", "Stopped as asked: %s" },

  why_index = { "索引无法使用 (%s): %s", "The index cannot be used (%s): %s" },
  why_mismatch = { "嵌入服务与索引不符: %s", "Embedder and index do not fit: %s" },
  why_not_switched = { "未切换，旧索引保持不变: %s", "Not switched, the old index stays: %s" },
  switched = { "已切换到新索引（--rollback 可切回）", "Switched to the new index (--rollback switches back)" },
  rolled_back = { "%s: 已切回上一个索引", "%s: switched back to the index before" },
  drop = { "%s: 将删除其中 %d 条记录", "%s: its %d records will be dropped" },
  nobody = { "%s：无人可询问，请加 --yes", "%s: --yes expected, as there is nobody to ask" },
  kept = { "未做任何更改", "nothing was changed" },

  bar_retries = { "重试 %d", "retries %d" },
  bar_failed = { "失败 %d", "failed %d" },
  bar_eta = { "剩余 %s", "ETA %s" },
  bar_rate = { "%.1f 张/秒", "%.1f/s" },
  bar_paused = { "已暂停", "paused" },
  bar_throttled = { "限流", "throttled" },
}

local column = { zh = 1, en = 2 }

--- The language that the environment asks for: the first of LC_ALL, LC_MESSAGES and LANG that is set.
local function language()
  for _, name in ipairs { "LC_ALL", "LC_MESSAGES", "LANG" } do
    local value = os.getenv(name)
    if value and value ~= "" then return value:find("^zh") and "zh" or "en" end
  end
  return "en"
end

--- A function that gives the message called name, with its arguments put in.
local function catalogue(lang)
  local at = column[lang]
  return function(name, ...)
    return string.format(messages[name][at], ...)
  end
end

return { catalogue = catalogue, language = language, messages = messages }
