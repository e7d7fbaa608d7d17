-- Runs killed at random moments lose nothing. REVEC_KILLS: how many (make soak: 200).
local cjson = require "cjson"
local harness = require "spec.support.harness"

local IMAGES = 400 -- more than a run indexes before it is killed

describe("runs killed at random moments", function()
  teardown(harness.cleanup)

  it("leave every image indexed in the end, and every record they left whole", function()
    math.randomseed(os.time())
    local names = {}
    for i = 1, IMAGES do names[i] = string.format("%02d/%03d.jpg", i % 7, i) end
    local storage = harness.tree(names)
    local backend = harness.backend(storage, { dim = 3 })
    local dir = harness.tempdir()
    local function args()
      return { "--storage-path", storage, "--api-url", backend.url, "--failed-dir", dir, "--max-retries", "0", "--quiet" }
    end
    local function embedded()
      local n = 0
      for route, requests in pairs(backend:counters().requests) do if route:find("embedding") then n = n + requests end end
      return n
    end
    local kills, in_mid_work = tonumber(os.getenv("REVEC_KILLS") or 10), 0
    for i = 1, kills do
      -- Each fifth run starts on an empty index; one image fails always.
      if i % 5 == 1 then backend:control() end
      backend:control { latency_ms = { 1, 20 }, fail = { pattern = "image_id=007", status = 422, body = '{"detail":"odd"}' } }
      local before = embedded()
      local run = harness.spawn { args = args() }
      run.child:wait(math.random() * 0.25)
      run:signal("KILL")
      if run:wait(10).signal == "KILL" and embedded() > before then in_mid_work = in_mid_work + 1 end
      for _, record in ipairs(harness.records(dir)) do
        assert.equal("007", record[1].id)
      end
    end
    assert.is_true(in_mid_work >= kills / 3, in_mid_work .. " of " .. kills .. " were killed in mid-work")
    backend:control { latency_ms = cjson.null, fail = cjson.null }
    local result = harness.run { args = args() }
    assert.equal(0, result.code, result.output)
    assert.matches("Total images: " .. IMAGES .. "\n", result.stderr)
    assert.matches("Skipped: " .. IMAGES .. "\n", harness.run({ args = args() }).stderr)
    for _, name in ipairs(harness.list(dir)) do assert.matches("^failed_images_%d+_%d+[_%d]*%.json$", name) end
  end)
end)
