-- --max-concurrent auto, end to end: the real command against the stand-in backend with a limit of its own.
-- What is decided when, and with what result, is in spec/core/limit_spec.lua.
local harness = require "spec.support.harness"

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
    -- How near depends on how busy this machine is; 256 is what it may go up to.
    assert.is_true(found >= 1 and found <= 64, "found " .. found)
    assert.is_true(refused >= 1 and refused <= IMAGES / 2, "refused " .. refused)
    assert.equal(refused, backend:counters().answers["429"])
    assert.is_nil(result.output:find("Rate limited", 1, true)) -- the search is no news
  end)

  it("embeds every image once where so many are permitted per second", function()
    backend:control { latency_ms = 5, rate_per_second = 200 }
    local result = rebuild()
    assert.equal(0, result.code, result.output)
    assert.equal(IMAGES, closing(result, "Succeeded"))
    assert.equal(IMAGES, backend:counters().answers["200"])
  end)

  it("is refused nothing with a --rate below what is permitted", function()
    backend:control { latency_ms = 5, rate_per_second = 200 }
    local result = rebuild("--rate", "100", "--limit", "100")
    assert.equal(100, closing(result, "Succeeded"))
    assert.is_nil(closing(result, "Throttled"))
  end)
end)
