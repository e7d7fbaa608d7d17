-- What a network may do to a run: the real command and a real server, on a network of their own that a spec breaks.
local certificates = require "spec.support.certificates"
local harness = require "spec.support.harness"
local namespace = require "spec.support.namespace"
local resolver = require "spec.support.resolver"
local server = require "spec.support.server"
local socket = require "socket"

local CORRECTLY = "return function(request, reply) reply.sleep(0.02) reply.correctly() end"

-- From the tenth embed request on, none is answered before the file at this path is there: nothing is over before a spec
-- has broken the network.
local function gated(path)
  return string.format([[return function(request, reply)
    state.embeds = (state.embeds or 0) + (request.method == "POST" and 1 or 0)
    while state.embeds >= 10 and not state.open do
      state.open = io.open(%q)
      reply.sleep(0.01)
    end
    reply.sleep(0.01)
    reply.correctly()
  end]], path)
end

-- Waits on this network are long enough for what works, and short enough for what does not.
local SHORT = { "--timeout", "0.3", "--connect-timeout", "0.3", "--retry-delay", "0.05", "--max-retries", "5" }

local function images(n)
  local names = {}
  for i = 1, n do names[i] = string.format("%03d.jpg", i) end
  return names
end

local function finish()
  server.stop_all()
  resolver.stop_all()
  namespace.close_all()
  harness.cleanup()
end

-- it(), in a fresh namespace that body is given; pending where there are none.
local function staged(name, body)
  it(name, function()
    local space, why = namespace.new()
    if not space then return pending(why) end
    body(space)
  end)
end

local function start(space, url, n, args, more)
  local options = { inside = space, env = { LC_ALL = "C" }, args = { "--storage-path", harness.tree(images(n)), "--api-url", url } }
  for _, list in ipairs { SHORT, args or {} } do
    for _, argument in ipairs(list) do options.args[#options.args + 1] = argument end
  end
  for name, value in pairs(more or {}) do options[name] = value end
  return harness.spawn(options)
end

local function counts(result)
  local found = {}
  for name, n in result.stderr:gmatch(" %- INFO %- ([%a ]+): (%d+)\n") do found[name] = tonumber(n) end
  return found
end

-- All n images were indexed, none failed, and the server saw each of them embedded.
local function whole(result, s, n)
  assert.equal(0, result.code, result.output)
  local told = counts(result)
  assert.same({ n, n, 0, 0 }, { told["Total images"], told.Succeeded, told.Failed, told.Skipped }, result.output)
  local embedded, ids = {}, 0
  for _, request in ipairs(s:requests()) do
    if request.method == "POST" then
      if not embedded[request.id] then ids = ids + 1 end
      embedded[request.id] = (embedded[request.id] or 0) + 1
    end
  end
  assert.equal(n, ids)
  assert.same({}, harness.list(result.cwd))
  return embedded
end

-- The run ended with 3 and this cause in its one line of it; nothing was sent, nothing has failed, all is pending.
local function out_of_reach(result, n, cause)
  assert.equal(3, result.code, result.output)
  local told = counts(result)
  assert.same({ n, 0, 0, n }, { told["Total images"], told.Succeeded, told.Failed, told.Pending }, result.output)
  local causes = {}
  for line in result.stderr:gmatch("ERROR %- ([^\n]*)") do causes[#causes + 1] = line end
  assert.equal(1, #causes, result.output)
  assert.matches("^Backend out of reach %(http[^)]*%): .*" .. cause, causes[1])
  assert.same({}, harness.list(result.cwd))
end

-- Starts a run on 40 images, and calls break_it() when ten are on their way; run and server.
local function broken(space, break_it, args, options)
  local gate = harness.tempdir() .. "/open"
  local all = { inside = space }
  for name, value in pairs(options or {}) do all[name] = value end
  local s = server.start(gated(gate), all)
  local run = start(space, s.url, 40, args)
  while s:count("^POST ") < 10 do
    assert(not run.child:ended(), "the command ended: " .. run:output_so_far())
    socket.sleep(0.01)
  end
  break_it(s)
  harness.write(gate, "")
  return run, s
end

describe("a network that fails in mid-run for a moment", function()
  after_each(finish)

  -- name, what is matched (%d is the server's port), its fate, whether each request has a connection of its own, and
  -- whether what the server has seen is certain: a request that was lost may still arrive when the network is back
  local faults = {
    { "where every packet is lost (N10)", "tcp dport %d", "drop" },
    { "where no new connection can be made: lost (N2)", "tcp dport %d tcp flags & (syn | ack) == syn", "drop", true, true },
    { "where no new connection can be made: refused (N1)", "tcp dport %d tcp flags & (syn | ack) == syn", "reject with tcp reset", true, true },
    { "where no new connection can be made: no route (N1)", "tcp dport %d tcp flags & (syn | ack) == syn",
      "reject with icmpx type host-unreachable", true, true },
    { "where answers are lost (N4)", "tcp sport %d", "drop", false, true },
    { "where all but the first packets of an answer are lost (N7)", "tcp sport %d meta length > 1000", "drop", false, true },
    { "where connections are reset under their requests (N3)", "tcp dport %d", "reject with tcp reset" },
  }
  for _, fault in ipairs(faults) do
    staged(fault[1] .. " costs no image, and the run goes on by itself", function(space)
      local run, s = broken(space, function(s) space:drop(fault[2]:format(s.port), fault[3]) end, {},
        { requests_per_connection = fault[4] and 1 or nil })
      socket.sleep(0.5)
      space:heal()
      local result = run:wait()
      local embedded = whole(result, s, 40)
      assert.is_true((counts(result).Retries or 0) > 0, result.output)
      -- What landed while its answer was lost was looked up, and not embedded again.
      if fault[5] then
        for id, times in pairs(embedded) do assert.equal(1, times, id) end
      end
    end)
  end

  staged("as its interface is down (N10, N11) costs no image, and the run goes on by itself", function(space)
    local run, s = broken(space, function() space:shell("ip link set lo down") end)
    run:wait_for("Backend is gone, pausing and probing")
    space:shell("ip link set lo up")
    local result = run:wait()
    assert.matches("Backend is back, going on", result.stderr)
    whole(result, s, 40)
  end)
end)

describe("a network that is gone for good", function()
  after_each(finish)

  staged("in mid-run ends it with 3 after --down-timeout: the rest is pending, none has failed", function(space)
    local run, s = broken(space, function(s) space:drop("tcp dport " .. s.port) end, { "--down-timeout", "1" })
    local result = run:wait()
    local told = counts(result)
    assert.same({ 3, 0, 40 }, { result.code, told.Failed, told.Succeeded + told.Pending }, result.output)
    assert.is_true(told.Succeeded <= s:count("^POST "), result.output)
    assert.same({}, harness.list(result.cwd))
  end)

  staged("from the start, in silence (N2), ends it with 3", function(space)
    space:drop("tcp dport 8000")
    out_of_reach(start(space, "http://127.0.0.1:8000", 3):wait(), 3, "timed out")
  end)

  staged("from the start, without a route, ends it with 3", function(space)
    space:shell("ip route add unreachable 192.0.2.1")
    out_of_reach(start(space, "http://192.0.2.1:8000", 3):wait(), 3, "192%.0%.2%.1")
  end)

  staged("in mid-handshake of TLS (N18) ends it with 3", function(space)
    local s = server.start("return function() end, function(connection, reply) reply.sleep(60) end",
      { inside = space, tls = certificates.make(harness.tempdir()).good })
    out_of_reach(start(space, s.url, 3, { "--insecure" }):wait(), 3, "timed? ?out")
    assert.equal(0, #s:requests())
  end)
end)

describe("a poor network", function()
  after_each(finish)

  staged("that loses a sixth of all packets (N5) costs no image", function(space)
    local s = server.start(CORRECTLY, { inside = space, dim = 64 })
    space:drop("tcp dport " .. s.port .. " numgen random mod 100 < 15")
    space:drop("tcp sport " .. s.port .. " numgen random mod 100 < 15")
    whole(start(space, s.url, 20, { "--timeout", "20", "--connect-timeout", "10" }):wait(), s, 20)
  end)

  staged("that is slow (N6) is waited for while bytes move", function(space)
    local s = server.start(CORRECTLY, { inside = space })
    space:shell("tc qdisc add dev lo root tbf rate 2mbit burst 4k latency 5s")
    local result = start(space, s.url, 5, { "--timeout", "20" }):wait()
    for _, times in pairs(whole(result, s, 5)) do assert.equal(1, times) end
    assert.is_nil(counts(result).Retries)
  end)

  staged("with fewer local ports than requests in flight (N23) costs no image", function(space)
    space:shell("sysctl -q net.ipv4.ip_local_port_range='40000 40003'")
    local s = server.start("return function(request, reply) reply.sleep(0.03) reply.correctly() end",
      { inside = space, requests_per_connection = 1, port = 8000 })
    local result = start(space, s.url, 20, { "--max-concurrent", "16" }):wait()
    whole(result, s, 20)
    assert.is_true((counts(result).Retries or 0) > 0, result.output)
  end)
end)

describe("an upload of a direct rebuild", function()
  after_each(finish)

  local BYTES = 100000

  -- n images sent to an embedder on that network, their vectors to a file.
  local function upload(space, s, n, args)
    local storage, words = harness.tempdir(), {}
    for i = 1, n do harness.write(("%s/%03d.jpg"):format(storage, i), ("x"):rep(BYTES)) end
    for _, list in ipairs { SHORT, { "--direct", "--storage-path", storage, "--embedder", s.url .. "/embed", "--index", "vectors.sqlite" }, args } do
      for _, word in ipairs(list) do words[#words + 1] = word end
    end
    return harness.spawn { inside = space, env = { LC_ALL = "C" }, args = words }
  end

  -- All n images were embedded, each from the whole of its file.
  local function embedded(run, s, n)
    local result = run:wait()
    assert.same({ 0, n, 0 }, { result.code, counts(result).Succeeded, counts(result).Failed }, result.output)
    local answered = 0
    for _, request in ipairs(s:requests()) do answered = answered + (request.body_bytes == BYTES and 1 or 0) end
    assert.is_true(answered >= n)
    return result
  end

  staged("that is slow (N6) is waited for while bytes move", function(space)
    local s = server.start("return function(request, reply) reply.json(200, '{\"embedding\":[1,2]}') end", { inside = space })
    space:shell("tc qdisc add dev lo root tbf rate 8mbit burst 4k latency 5s")
    local result = embedded(upload(space, s, 6, { "--timeout", "20" }), s, 6)
    assert.equal(6, #s:requests())
    assert.is_nil(counts(result).Retries)
  end)

  staged("that stalls in mid-body (N7) costs no image, and the run goes on by itself", function(space)
    local gate = harness.tempdir() .. "/open" -- nothing is over before the network is broken
    local s = server.start(([[return function(request, reply)
      while request.n >= 10 and not io.open(%q) do reply.sleep(0.01) end
      reply.json(200, '{"embedding":[1,2]}')
    end]]):format(gate), { inside = space })
    local run = upload(space, s, 40, { "--max-concurrent", "4", "--timeout", "1" })
    while s:count() < 10 do
      assert(not run.child:ended(), run:output_so_far())
      socket.sleep(0.005)
    end
    space:drop(("tcp dport %d meta length > 1000"):format(s.port))
    harness.write(gate, "")
    run:wait_for("timed out")
    space:heal()
    local result = embedded(run, s, 40)
    assert.is_true(counts(result).Retries > 0, result.output)
  end)
end)

describe("a name", function()
  after_each(finish)

  -- answer, what the line says
  local failures = {
    { "NXDOMAIN", "resolve host" }, { "SERVFAIL", "resolve host" }, { "", "Resolving timed out" },
  }
  for _, failure in ipairs(failures) do
    staged("that the name server answers with " .. (failure[1] == "" and "silence (N13)" or failure[1] .. " (N12)") .. " ends the run with 3", function(space)
      resolver.start(space, failure[1], 30)
      -- Within one connect timeout and what a busy machine adds: neither the system's patience nor the request's.
      out_of_reach(start(space, "http://backend.example:8000", 3, { "--timeout", "60" }):wait(15), 3, failure[2])
    end)
  end

  staged("of several addresses, dead and of IPv6 some of them, leads to the one that lives (N14)", function(space)
    resolver.start(space, "2001:db8:0:0:0:0:0:1 192.0.2.1 127.0.0.2 127.0.0.1")
    space:shell("ip addr add 192.0.2.2/24 dev lo; ip addr add 2001:db8:0:0:0:0:0:2/64 dev lo nodad")
    space:drop("ip daddr 192.0.2.1")
    local s = server.start(CORRECTLY, { inside = space })
    local url = "http://backend.example:" .. s.port
    whole(start(space, url, 20, { "--connect-timeout", "3" }):wait(), s, 20)
  end)

  staged("of four replicas that are restarted one behind another (S58) costs no image, and few requests", function(space)
    local N, AT_ONCE = 60, 8
    local replicas = {}
    for i = 1, 3 do
      replicas[i] = server.start(CORRECTLY, { inside = space, port = 8000, address = "127.0.0." .. i, dim = 8, requests_per_connection = 7 })
    end
    resolver.start(space, "127.0.0.4 127.0.0.1 127.0.0.2 127.0.0.3") -- the fourth is down as yet
    local function embeds()
      local n = 0
      for _, s in ipairs(replicas) do n = n + s:count("^POST ") end
      return n
    end
    local run = start(space, "http://backend.example:8000", N, { "--max-concurrent", tostring(AT_ONCE), "--timeout", "5" })
    while embeds() < 20 do
      assert(not run.child:ended(), run:output_so_far())
      socket.sleep(0.01)
    end
    local busiest = replicas[1]
    for _, s in ipairs(replicas) do
      if s:count("^POST ") > busiest:count("^POST ") then busiest = s end
    end
    busiest.child:kill()
    local result = run:wait()
    assert.equal(0, result.code, result.output)
    assert.same({ N, 0 }, { counts(result).Succeeded, counts(result).Failed }, result.output)
    -- What was on its way to the one that died, and libcurl's own try at each connection that died with it.
    assert.is_true(embeds() <= N + 2 * AT_ONCE, embeds())
    assert.is_true((counts(result).Retries or 0) <= 2 * AT_ONCE, result.output)
  end)

  staged("is asked for once, however many requests wait for it (N16)", function(space)
    local names = resolver.start(space, "127.0.0.1")
    local s = server.start(CORRECTLY, { inside = space, requests_per_connection = 1 })
    whole(start(space, "http://backend.example:" .. s.port, 100, { "--max-concurrent", "64" }):wait(), s, 100)
    assert.equal(2, names:questions()) -- an A and an AAAA
  end)
end)
