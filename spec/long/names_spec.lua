-- A name whose answers change in mid-run: a minute passes before libcurl asks again, so that this runs with `make soak`
-- (REVEC_NAMES set) alone.
local harness = require "spec.support.harness"
local namespace = require "spec.support.namespace"
local resolver = require "spec.support.resolver"
local server = require "spec.support.server"

describe("a name in mid-run (N11, N13, N15)", function()
  after_each(function()
    server.stop_all()
    resolver.stop_all()
    namespace.close_all()
    harness.cleanup()
  end)

  it("that is not told any more, then leads elsewhere, costs no image", function()
    if not os.getenv("REVEC_NAMES") then return pending("takes 75 seconds: make soak") end
    local space, why = namespace.new()
    if not space then return pending(why) end
    local images = {}
    for i = 1, 45 do images[i] = string.format("%02d.jpg", i) end
    local s = server.start("return function(request, reply) reply.correctly() end", { inside = space, requests_per_connection = 1 })
    -- One server under two addresses, of which only what the name tells at the moment can be reached.
    space:shell("nft 'add table ip elsewhere; add chain ip elsewhere out { type nat hook output priority -100; }; "
      .. "add rule ip elsewhere out ip daddr 127.0.0.2 dnat to 127.0.0.1'")
    local names = resolver.start(space, "127.0.0.1")
    local run = harness.spawn {
      inside = space, env = { LC_ALL = "C" },
      args = { "--storage-path", harness.tree(images), "--api-url", "http://backend.example:" .. s.port, "--rate", "0.6", "--check", "each",
               "--force-reindex", "--connect-timeout", "1" },
    }
    run:wait_for("Succeeded: 05")
    names:answer("SERVFAIL")
    run:wait_for("resolve host", 90)
    names:answer("127.0.0.2")
    space:shell("nft 'add chain ip elsewhere lost { type filter hook output priority 0; }; "
      .. "add rule ip elsewhere lost ip daddr 127.0.0.1 tcp dport " .. s.port .. " ct status & dnat == 0 drop'")
    local result = run:wait(60)
    assert.equal(0, result.code, result.output)
    assert.matches("Succeeded: 45\n.*Failed: 0\n", result.stderr)
    assert.equal(45, s:count("^POST "))
  end)
end)
