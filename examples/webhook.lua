-- Tells a webhook how the run went: POST WEBHOOK_URL?reason=done&total=48&succeeded=48&failed=0&skipped=0&pending=0
--
--   WEBHOOK_URL=https://example.org/hooks/rebuild lua rebuild.lua --config examples/webhook.lua
--
-- Sent by the engine that does the rebuild's requests, so with its retries, and with the server's certificate checked.
-- The engine sends no bodies: a service that wants JSON needs another client in the place of `post`.

local core = require "revec.core"

local url = os.getenv "WEBHOOK_URL"
if not url or not url:find("^https?://[^/]") then error("WEBHOOK_URL: a URL expected, got " .. tostring(url), 0) end

-- Blocks until there is an answer, or none is to be had; nil, or why not.
local function post(target)
  local engine = assert(core.engine { probe_url = url:match("^%a+://[^/?#]+"), timeout = 10, down_timeout = 10 })
  engine:submit(engine:route { method = "POST" }, target, "the news")
  local answer
  repeat
    engine:wait(1)
    for _, event in ipairs(engine:poll()) do
      if not event.retry_in then answer = event end
    end
  until answer
  local why = answer.kind and (answer.message or engine:stats().reason or "status " .. tostring(answer.status))
  engine:close()
  return why
end

return {
  on_done = function(report)
    local query = {}
    for i, name in ipairs { "reason", "total", "succeeded", "failed", "skipped", "pending" } do
      query[i] = name .. "=" .. core.escape(tostring(report[name]))
    end
    local why = post(url .. (url:find("?", 1, true) and "&" or "?") .. table.concat(query, "&"))
    if why then error("the webhook was not told: " .. why, 0) end
  end,
}
