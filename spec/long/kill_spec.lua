-- Runs killed at random moments lose nothing. REVEC_KILLS: how many (make soak: 200).
local cjson = require "cjson"
local harness = require "spec.support.harness"

describe("runs killed at random moments", function()
  teardown(harness.cleanup)

  it("leave every image indexed in the end, and every record they left whole", function()
    math.randomseed(os.time())
    local names = {}
    for i = 1, 60 do names[i] = string.format("%02d/%03d.jpg", i % 7, i) end
    local storage = harness.tree(names)
    local backend = harness.backend(storage, { dim = 3 })
    local dir = harness.tempdir()
    local function args()
      return { "--storage-path", storage, "--api-url", backend.url, "--failed-dir", dir, "--max-retries", "0", "--quiet" }
    end
    local kills = tonumber(os.getenv("REVEC_KILLS") or 10)
    for i = 1, kills do
      -- Each tenth run starts on an empty index; one image fails always.
      if i % 10 == 1 then backend:control() end
      backend:control { latency_ms = { 1, 20 }, fail = { pattern = "image_id=007", status = 422, body = '{"detail":"odd"}' } }
      local run = harness.spawn { args = args() }
      run.child:wait(math.random() * 0.25)
      run:signal("KILL")
      run:wait(10)
      for _, record in ipairs(harness.records(dir)) do
        assert.equal("007", record[1].id)
      end
    end
    backend:control { latency_ms = cjson.null, fail = cjson.null }
    local result = harness.run { args = args() }
    assert.equal(0, result.code, result.output)
    assert.matches("Total images: 60\n", result.stderr)
    assert.matches("Skipped: 60\n", harness.run({ args = args() }).stderr)
    for _, name in ipairs(harness.list(dir)) do assert.matches("^failed_images_%d+_%d+[_%d]*%.json$", name) end
  end)
end)
