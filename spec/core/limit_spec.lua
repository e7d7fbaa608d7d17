-- How many requests may be in flight when that is to be found out: against simulated backends, under a clock of our own
-- and with fixed seeds, so that every figure is the same on every run. bench/auto shows the same on a real one.

require("spec.support.paths")
local internals = require("revec.internals")
local simulation = require("spec.support.simulation")

local AUTO = { max_concurrent = 256, adaptive = true }
local NETWORK_S = simulation.NETWORK_S

-- Runs a backend; check(stats, seed): stats(from, to) -> per second, refused share, mean limit between two times.
local function each_seed(seeds, backend, seconds, check, network)
  for _, seed in ipairs(seeds) do
    local options = { max_concurrent = 256, adaptive = true, seed = seed, network = network }
    check(simulation.run(backend, seconds, options), "seed " .. seed)
  end
end

local function many_seeds()
  local seeds = {}
  for i = 1, 60 do seeds[i] = 977 + 7919 * i end
  return seeds
end

local function at_least(least, got, what)
  assert(got >= least, ("%s: %.3f, at least %.3f expected"):format(what, got, least))
end

local function at_most(most, got, what)
  assert(got <= most, ("%s: %.3f, at most %.3f expected"):format(what, got, most))
end

describe("a backend that admits so many at once", function()
  for _, n in ipairs { 1, 4, 10, 40 } do
    for _, latency in ipairs { 0.05, 0.3 } do
      it(("is used by 90 %% over 15 s and 97 %% once settled, under 2 %% refused: %d, %g s"):format(n, latency), function()
        local best = n / (latency + NETWORK_S)
        each_seed({ 977 }, simulation.admits(n, latency), 20, function(stats, seed)
          local all, refused = stats(0, 15)
          at_least(0.9 * best, all, seed)
          at_most(0.02, refused, seed)
          all, refused = stats(10, 20)
          at_least(0.97 * best, all, seed)
          at_most(0.015, refused, seed)
        end)
      end)
    end
  end

  -- A refusal arrives when many more are under way, and the level at which the next is refused varies by a quarter.
  it("is not taken for one per second across a slow network", function()
    for _, n in ipairs { 4, 10, 40 } do
      each_seed({ 977, 31337, 65537 }, simulation.admits(n, 0.05), 20, function(stats, seed)
        local all, refused = stats(0, 15)
        at_least(0.9 * n / (0.05 + 0.03), all, seed)
        at_most(0.02, refused, seed)
      end, 0.03)
    end
  end)

  it("is used all the same when it was still busy with a run before this one", function()
    each_seed({ 977 }, simulation.admits(function(seconds) return seconds < 0.1 and 2 or 40 end, 0.1), 30, function(stats, seed)
      at_least(0.9 * 40 / (0.1 + NETWORK_S), stats(15, 30), seed)
    end)
    each_seed({ 977 }, simulation.admits(function(seconds) return seconds < 0.05 and 0 or 40 end, 0.1), 20, function(stats, seed)
      at_least(0.9 * 40 / (0.1 + NETWORK_S), stats(10, 20), seed)
    end)
  end)

  -- So sudden a fall looks like a limit per second, and is then kept as one.
  it("is followed when it admits a third for a while", function()
    local function most(seconds) return (seconds < 10 or seconds > 25) and 39 or 13 end
    each_seed({ 977 }, simulation.admits(most, 0.1), 60, function(stats, seed)
      local per_slot = 1 / (0.1 + NETWORK_S)
      for _, case in ipairs { { 18, 25, 13 }, { 45, 60, 39 } } do
        local all, refused = stats(case[1], case[2])
        at_least(0.85 * case[3] * per_slot, all, seed)
        at_most(0.01, refused, seed)
      end
    end)
  end)

  it("is not asked by many more when it fails the rest instead of throttling it", function()
    for _, n in ipairs { 4, 40 } do
      each_seed({ 977 }, simulation.admits(n, 0.05, "overloaded"), 40, function(stats, seed)
        local all, _, level = stats(20, 40)
        at_least(0.95 * n / (0.05 + NETWORK_S), all, seed)
        at_most(2 * n, level, seed)
      end)
    end
  end)
end)

describe("a backend that counts per second", function()
  for _, rate in ipairs { 20, 100 } do
    for _, latency in ipairs { 0.05, 0.3 } do
      it(("is used by 85 %% over 12 s and 90 %% once settled, under 3 %% refused: %d, %g s"):format(rate, latency), function()
        each_seed({ 977, 31337 }, simulation.counts(rate, latency), 30, function(stats, seed)
          local all, refused = stats(0, 12)
          at_least(0.85 * rate, all, seed)
          at_most(0.03, refused, seed)
          all, refused = stats(10, 30)
          at_least(0.9 * rate, all, seed)
          at_most(0.015, refused, seed)
        end)
      end)
    end
  end

  -- How it goes depends on where in a second of the backend's clock the run begins.
  for _, rate in ipairs { 20, 100 } do
    for _, latency in ipairs { 0.05, 0.3 } do
      it(("is found out in 12 s whenever a run begins: %d, %g s"):format(rate, latency), function()
        each_seed(many_seeds(), simulation.counts(rate, latency), 12, function(stats, seed)
          local all, refused = stats(0, 12)
          at_least(0.85 * rate, all, seed)
          at_most(0.03, refused, seed)
        end)
      end)
    end
  end

  it("costs more to find out across a slow network, and where a refusal is a great part", function()
    for _, case in ipairs { { 20, 0.05, 0.03, 0.15 }, { 100, 0.3, 0.03, 0.06 }, { 5, 0.05, nil, 0.1 } } do
      each_seed(many_seeds(), simulation.counts(case[1], case[2]), 20, function(stats, seed)
        local _, refused = stats(0, 12)
        at_most(case[4], refused, seed)
        _, refused = stats(10, 20)
        at_most(0.015, refused, seed)
      end, case[3])
    end
  end)

  it("is followed when it permits a tenth for a while", function()
    local function most(seconds) return (seconds < 20 or seconds > 50) and 100 or 10 end
    each_seed({ 977, 31337, 65537 }, simulation.counts(most, 0.1), 120, function(stats, seed)
      at_least(0.85 * 10, stats(30, 50), seed)
      at_least(0.85 * 100, stats(95, 120), seed)
    end)
  end)

  it("is still known after it did nothing for a while", function()
    each_seed({ 977, 31337, 111843 }, simulation.stalls(10, 11, simulation.counts(100, 0.3)), 20, function(stats, seed)
      at_least(0.85 * 100, stats(12, 20), seed)
    end)
  end)

  it("is found out when it is a bucket that has filled up", function()
    each_seed({ 977, 31337 }, simulation.bucket(50, 0.1, 50), 30, function(stats, seed)
      local all, refused = stats(8, 30)
      at_least(0.9 * 50, all, seed)
      at_most(0.015, refused, seed)
    end)
  end)
end)

describe("a backend that refuses nothing", function()
  it("is not asked by many more than it has workers", function()
    for n, most in pairs { [1] = 4, [8] = 16, [20] = 40 } do
      each_seed({ 977 }, simulation.workers(n, 0.05), 30, function(stats, seed)
        local all, _, level = stats(20, 30)
        at_least(0.97 * n / 0.05, all, seed)
        at_most(most, level, seed)
      end)
    end
  end)

  it("is given as many as its batches take", function()
    local best = 64 / (0.03 + 64 * 0.0014)
    each_seed({ 977 }, simulation.batches(64, 0.03, 0.0014), 30, function(stats, seed)
      at_least(0.9 * best, stats(0, 15), seed)
      local all, _, level = stats(20, 30)
      at_least(0.97 * best, all, seed)
      at_most(200, level, seed)
    end)
  end)

  it("is followed when it slows down for a while", function()
    local function seconds(t) return (t < 10 or t > 30) and 0.04 or 0.12 end
    each_seed({ 977 }, simulation.workers(8, seconds), 50, function(stats, seed)
      at_least(0.9 * 8 / 0.12, stats(15, 30), seed)
      at_least(0.9 * 8 / 0.04, stats(35, 50), seed)
    end)
  end)
end)

describe("errors that have nothing to do with load", function()
  local cases = {
    { "workers", simulation.workers(8, 0.04), 8 / 0.04 },
    { "batches", simulation.batches(64, 0.03, 0.0014), 64 / (0.03 + 64 * 0.0014) },
    { "a limit", simulation.admits(40, 0.1), 40 / (0.1 + NETWORK_S) },
  }
  for _, case in ipairs(cases) do
    it("do not ruin what is left: three in ten of " .. case[1], function()
      each_seed({ 977 }, simulation.flaky(0.3, case[2]), 30, function(stats, seed)
        at_least(0.8 * 0.7 * case[3], stats(0, 15), seed)
        at_least(0.85 * 0.7 * case[3], stats(15, 30), seed)
      end)
    end)

    -- So much noise hides what more of a batching backend's slots would bring: that is found out step by step.
    it("do not ruin what is left: half of " .. case[1] .. " (S33), once settled", function()
      each_seed({ 977, 31337, 65537 }, simulation.flaky(0.5, case[2]), 60, function(stats, seed)
        at_least(0.8 * 0.5 * case[3], stats(30, 60), seed)
      end)
    end)
  end
end)

describe("a backend that throttles everything for ten minutes (S28)", function()
  it("is asked now and then, and used again when that is over", function()
    local STORM_S, best = 600, 8 / 0.04
    local asked = 0
    local function storm(world)
      local answer = simulation.workers(8, 0.04)(world)
      return function(reply)
        local seconds = world.now - world.start
        if seconds < 10 or seconds > 10 + STORM_S then return answer(reply) end
        asked = asked + 1
        reply("rate_limited")
      end
    end
    each_seed({ 977, 31337 }, storm, 10 + STORM_S + 90, function(stats, seed)
      at_most(0.1 * STORM_S, asked, seed)
      asked = 0
      -- Nobody says when it is over: the last wait is up to a minute.
      at_least(0.9 * best, stats(10 + STORM_S + 70, 10 + STORM_S + 90), seed)
    end)
  end)
end)

describe("the limit", function()
  -- A host of which so many were accepted, each alone; and the time.
  local function calm(options, n)
    local host, now = internals.host(options), 1000
    host:connected()
    for _ = 1, n or 0 do
      local level = host:sending(now)
      host:ended(now + 0.1, now, level, "ok")
      now = now + 0.1
    end
    return host, now
  end

  it("is what was given unless it is to be found out", function()
    local host, now = calm({ max_concurrent = 7 }, 100)
    assert.equal(7, host:level(now))
    assert.equal(0.1, host:ended(now, now, host:sending(now), "rate_limited", 0.1))
    assert.equal(7, host:level(now))
  end)

  it("never leaves 1 to the most there may be", function()
    for _, most in ipairs { 1, 2, 3, 256 } do
      local host = calm({ max_concurrent = most, adaptive = true })
      for i = 1, 3000 do
        local now = 1000 + i / 100
        local kind = ({ "ok", "overloaded", "rate_limited" })[i % 7 % 3 + 1]
        host:ended(now + 0.005, now, host:sending(now), kind, kind == "rate_limited" and 0 or nil)
        local limit = host:level(now)
        assert.is_true(limit >= 1 and limit <= most)
      end
    end
  end)

  it("is lowered by a refusal without holding the host, which a refusal with a time to wait does hold", function()
    for wait, state in pairs { [-1] = "starting", [2] = "throttled" } do
      local host, now = calm(AUTO)
      local level
      for _ = 1, 8 do level = host:sending(now) end
      assert.equal(wait > 0 and 2 or 0, host:ended(now + 0.01, now, level, "rate_limited", 2, wait))
      assert.equal(state, (host:state()))
      assert.is_true(host:level(now) < 8)
    end
  end)

  it("holds the host when a request is refused that was alone, twice", function()
    local host, now = calm(AUTO)
    assert.equal(0, host:ended(now + 0.01, now, host:sending(now), "rate_limited", 0.1))
    assert.equal(0.1, host:ended(now + 0.03, now + 0.02, host:sending(now + 0.02), "rate_limited", 0.1))
  end)
end)
