-- --max-concurrent auto, end to end: the real command against the stand-in backend with a limit of its own.
-- What is decided when, and with what result, is in spec/core/limit_spec.lua.
local harness = require "spec.support.harness"

local unpack = table.unpack or unpack -- luacheck: ignore
local IMAGES = 400

describe("--max-concurrent auto", function()
  local storage, backend
  setup(function()
    local names = {}
    for i = 1, IMAGES do names[i] = i .. ".jpg" end
    storage = harness.tree(names)
    backend = harness.backend(storage, { dim = 8 })
  end)
  before_each(function() backend:control() end)
  teardown(harness.cleanup)

  local function rebuild(...)
    return harness.run { args = { "--storage-path", storage, "--api-url", backend.url, "--lang", "en", "--force-reindex",
                                  "--max-retries", "0", "--max-concurrent", "auto", ... } }
  end

  local function closing(result, name) return tonumber(result.stderr:match(" %- INFO %- " .. name .. ": (%d+)")) end

  it("finds how many a backend admits at once, and fails no image for it", function()
    backend:control { latency_ms = 20, max_in_flight = 6 }
    local result = rebuild()
    assert.equal(0, result.code, result.output)
    assert.equal(IMAGES, closing(result, "Succeeded"))
    local found, refused = closing(result, "Concurrency found"), closing(result, "Throttled")
    assert.is_true(found >= 2 and found <= 12, result.output)
    assert.is_true(refused >= 1 and refused <= IMAGES / 4, result.output)
    assert.equal(refused, backend:counters().answers["429"])
    assert.is_nil(result.output:find("Rate limited", 1, true)) -- the search is no news
  end)

  it("embeds every image once where so many are permitted per second, and takes --rate beside it", function()
    backend:control { latency_ms = 5, rate_per_second = 150 }
    for _, flags in ipairs { {}, { "--rate", "120" } } do
      local before = backend:counters().answers["200"] or 0
      local result = rebuild(unpack(flags))
      assert.equal(0, result.code, result.output)
      assert.equal(IMAGES, closing(result, "Succeeded"))
      assert.equal(IMAGES, backend:counters().answers["200"] - before)
      if flags[1] then assert.is_nil(closing(result, "Throttled"), result.output) end
    end
  end)
end)
