-- Threads that run another module's task on files: revec.describe's, on real pictures.
require "spec.support.paths"
local core = require "revec.core"
local describe_image = require "revec.describe"
local census = require "spec.support.census"
local harness = require "spec.support.harness"
local paths = require "spec.support.paths"
local process = require "spec.support.process"

local HANG_SECONDS = 30

describe("workers", function()
  local folder, pictures, engine, workers, before

  setup(function()
    -- With the first thread of all a sanitizer may start one of its own, which stays.
    assert(core.engine { probe_url = "http://localhost" }):close()
    folder = harness.tempdir()
    harness.shell("cd " .. process.quote(folder) .. " && " .. process.quote(paths.build .. "/render")
      .. " --out . --count 6 >/dev/null && find \"$PWD\" -type f -name '*.*' | sort >list")
    pictures = {}
    for path in io.lines(folder .. "/list") do pictures[#pictures + 1] = path end
    assert.equal(6, #pictures)
  end)
  teardown(harness.cleanup)

  before_each(function()
    before = census.take()
    engine = assert(core.engine { probe_url = "http://localhost" })
  end)
  after_each(function()
    if workers then workers:close() end
    workers = nil
    engine:close()
    assert.same(before, census.take(before))
  end)

  local function opened(threads)
    workers = assert(core.workers { beside = engine, task = describe_image.task, threads = threads })
    return workers
  end

  -- The events of n works, by item.
  local function collect(n)
    local events, deadline = {}, core.now() + HANG_SECONDS
    while n > 0 do
      assert(core.now() < deadline, "hangs")
      engine:wait(1)
      engine:poll()
      for _, event in ipairs(workers:poll(2)) do
        events[event.item], n = event, n - 1
      end
    end
    return events
  end

  it("give what the task gives, to the last bit", function()
    opened(2)
    for _, path in ipairs(pictures) do workers:submit(path, path) end
    for path, event in pairs(collect(#pictures)) do
      assert.same({ 1, 0 }, { event.attempts, event.sends })
      assert.is_nil(event.kind)
      local bytes = describe_image.file(path)
      local i = 0
      for text in event.vectors[1]:json():gmatch("[^%[%],]+") do
        i = i + 1
        -- Nine digits tell any float from its neighbours: the same ones are the same float.
        local a, b, c, d = bytes:byte(4 * i - 3, 4 * i)
        local exponent, mantissa = d % 128 * 2 + math.floor(c / 128), (c % 128 * 256 + b) * 256 + a
        local value = exponent == 0 and mantissa * 2 ^ -149 or (mantissa + 2 ^ 23) * 2 ^ (exponent - 150)
        assert.equal(("%.9g"):format(d > 127 and -value or value), ("%.9g"):format(tonumber(text)))
      end
      assert.equal(describe_image.dimension, i)
    end
  end)

  it("tell of each file what is wrong with it", function()
    opened()
    harness.write(folder .. "/text.jpg", "no picture")
    workers:submit(folder .. "/text.jpg", 1)
    workers:submit(folder .. "/gone.jpg", 2)
    local events = collect(2)
    assert.same({ "bad_image", "unreadable_file" }, { events[1].kind, events[2].kind })
    assert.equal("not a JPEG, PNG, GIF, WebP or BMP image", events[1].message)
  end)

  it("give back what they have not begun when they are drained", function()
    opened(1)
    for i = 1, 50 do workers:submit(pictures[1], i) end
    workers:drain()
    workers:submit(pictures[1], 51)
    local pending = 0
    for _, event in pairs(collect(51)) do pending = pending + (event.kind == "pending" and 1 or 0) end
    assert.is_true(pending >= 49)
  end)

  it("may be closed with work under way, before and after their engine, and collected", function()
    opened(2)
    for i = 1, 50 do workers:submit(pictures[1], i) end
    engine:close()
    workers:close()
    assert.has_error(function() workers:poll() end, "workers: closed")
    engine = assert(core.engine { probe_url = "http://localhost" })
    opened(2):submit(pictures[1], "item")
    workers = nil
    collectgarbage()
    collectgarbage()
  end)

  it("refuse wrong arguments, naming them", function()
    assert.has_error(function() core.workers { beside = engine } end, "task: a module's task expected, got nil")
    assert.has_error(function() core.workers { task = describe_image.task } end, "beside: engine expected, got nil")
    assert.has_error(function() core.workers { beside = engine, task = describe_image.task, threads = 65 } end,
      "threads: integer 0..64 expected, got 65")
    opened()
    assert.has_error(function() workers:submit("a.jpg") end)
    assert.has_error(function() workers:submit("", 1) end)
  end)
end)
