-- Two backends compared: each embeds the same images, one after the other, and the figures stand side by side.
--
--   lua5.4 examples/compare.lua STORAGE URL_A URL_B [LIMIT]
--
-- Every image is embedded, indexed or not, so that both do the same work. Failures go on record in this folder.

local revec = require "revec"

if #arg < 3 then error("usage: compare.lua STORAGE URL_A URL_B [LIMIT]", 0) end

-- The figures of one backend by the names of their rows.
local function measure(url)
  local figures = {}
  local report, why = revec.rebuild {
    storage_path = arg[1], api_url = url, limit = arg[4], no_skip_indexed = true,
    on_failure = function(_, failure)
      local row = "failed: " .. failure.kind
      figures[row] = (figures[row] or 0) + 1
    end,
  }
  if not report then error(why, 0) end
  figures.backend, figures.ended = url, report.reason
  for _, name in ipairs { "succeeded", "failed", "pending", "retries", "throttled" } do figures[name] = report[name] end
  figures["images per second"] = ("%.1f"):format(report.succeeded / report.seconds)
  return figures
end

local a, b = measure(arg[2]), measure(arg[3])
local kinds = {}
for _, figures in ipairs { a, b } do
  for row in pairs(figures) do
    if row:find("^failed: ") and not kinds[row] then kinds[row], kinds[#kinds + 1] = true, row end
  end
end
table.sort(kinds)

local function show(row)
  print(("%-24s%-28s%s"):format(row, a[row] or 0, b[row] or 0))
end
for _, row in ipairs { "backend", "ended", "images per second", "succeeded", "failed" } do show(row) end
for _, row in ipairs(kinds) do show(row) end
for _, row in ipairs { "pending", "retries", "throttled" } do show(row) end
