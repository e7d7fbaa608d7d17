-- examples/openresty for long: many runs in one worker, many reloads in mid-run. REVEC_CYCLES, REVEC_RELOADS: how many
-- (make soak: 1000, 50).

if jit then return end -- nginx has a Lua of its own, whatever runs the spec: once is enough

local cjson = require("cjson")
local harness = require("spec.support.harness")
local lfs = require("lfs")
local nginx = require("spec.support.openresty")
local socket = require("socket")

local CYCLES = tonumber(os.getenv("REVEC_CYCLES") or 20)
local RELOADS = tonumber(os.getenv("REVEC_RELOADS") or 3)

local function count(folder)
  local n = 0
  for _ in lfs.dir(folder) do n = n + 1 end
  return n - 2 -- . and ..
end

local function stored(n)
  local names = {}
  for i = 1, n do names[i] = string.format("%02d/%04d.jpg", i % 7, i) end
  return harness.tree(names)
end

describe("a rebuild in nginx", function()
  after_each(function()
    nginx.stop_all()
    harness.cleanup()
  end)

  it("leaves memory, threads and descriptors as they were, run after run", function()
    local storage = stored(30)
    local backend = harness.backend(storage, { dim = 3 })
    local app = nginx.start { storage = storage, api_url = backend.url }
    local function cycle(i)
      backend:control { latency_ms = i % 4 == 0 and 20 or 0 }
      app:start { max_concurrent = 4, force_reindex = i % 2 == 0 }
      -- Each fourth is stopped in its middle, at once or not.
      if i % 4 == 0 then
        app:await_done(1)
        for _ = 1, 1 + i % 8 / 4 do app:ask("DELETE", "/rebuild") end
      end
      return app:await_end()
    end
    local worker = cycle(1).worker
    local function taken()
      local status = harness.read("/proc/" .. worker .. "/status")
      return count("/proc/" .. worker .. "/task"), count("/proc/" .. worker .. "/fd"), tonumber(status:match("VmRSS:%s*(%d+)"))
    end
    for i = 2, CYCLES / 4 do cycle(i) end
    local threads, descriptors, kib = taken()
    for i = 1, CYCLES * 3 / 4 do cycle(i) end
    -- A connection of ours may come or go.
    local threads_after, descriptors_after, kib_after = taken()
    assert.equal(threads, threads_after)
    assert.is_true(math.abs(descriptors_after - descriptors) <= 1, descriptors .. " descriptors, then " .. descriptors_after)
    assert.is_true(kib_after - kib < 2048, kib .. " KiB, then " .. kib_after)
    assert.equal(worker, cycle(1).worker)
    print(("%d runs: %d threads, %d descriptors, %d KiB after a quarter, %d at the end"):format(CYCLES, threads_after, descriptors_after,
      kib, kib_after))
  end)

  it("loses nothing over many reloads in mid-run", function()
    local images = 40 * RELOADS
    local storage = stored(images)
    local backend = harness.backend(storage, { dim = 3 })
    backend:control { latency_ms = { 1, 30 }, fail = { pattern = "image_id=0007", status = 422, body = '{"detail":"odd"}' } }
    local app = nginx.start { storage = storage, api_url = backend.url, workers = 2 }
    math.randomseed(os.time())
    local failures = 0
    for _ = 1, RELOADS do
      local status = app:start { max_concurrent = 5 }
      assert.equal(202, status)
      socket.sleep(math.random() * 0.3)
      os.execute("kill -HUP " .. app.master)
      local ended = app:await_end()
      failures = failures + ended.failed
      assert.is_truthy(ended.reason == "worker_exit" or ended.reason == "done", ended.reason)
      assert.equal(ended.total, ended.done + ended.pending)
    end
    backend:control { latency_ms = cjson.null }
    -- The last reload may still be under way, and end what begins in a worker that goes.
    local function undisturbed(options)
      for _ = 1, 10 do
        app:start(options)
        local ended = app:await_end()
        if ended.reason ~= "worker_exit" then return ended end
        failures = failures + ended.failed
      end
    end
    local report = undisturbed()
    assert.same({ "done", images, 1 }, { report.reason, report.total, report.failed })
    local recorded = 0
    for _, record in ipairs(harness.records(app.dir .. "/records")) do recorded = recorded + #record end
    assert.equal(failures + 1, recorded)
    assert.equal(images - 1, undisturbed({ limit = images }).skipped)
    assert.is_nil(app:log():match("exited on signal[^\n]*") or app:log():match("%[alert%][^\n]*"))
  end)
end)
