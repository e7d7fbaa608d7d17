-- `make demo`'s script, as it runs: what it shows, and that it leaves nothing behind.
local harness = require "spec.support.harness"

describe("the demo", function()
  after_each(harness.cleanup)

  it("indexes all, then skips all, and stops and removes what it started", function()
    local tmp, out = harness.tempdir(), harness.tempdir()
    local result = harness.run { command = { harness.root .. "/examples/demo" }, env = { TMPDIR = tmp, DEMO_DIR = out, LC_ALL = "C" }, timeout = 60 }
    assert.equal(0, result.code, result.output)
    assert.matches("Succeeded: 48\n.*Skipped: 48\n.*Succeeded: 48\n", result.stderr)
    local page = harness.read(assert(result.stdout:match("file://(%S+)\n$")))
    local first = page:match('<section><figure><img src="([^"]+)"')
    assert.is_truthy(harness.read(out .. "/demo/" .. first))
    assert.equal(8 * 7, select(2, page:gsub("<figure>", "")))
    assert.same({}, harness.list(tmp))
    local left = io.popen("pgrep -f '" .. tmp:gsub("%p", "[%0]") .. "'")
    assert.equal("", left:read("*a"))
    left:close()
  end)
end)
