-- What the engine knows of its host, under a clock of our own: whom it may ask, when, and when it gives up.

require("spec.support.paths")
local internals = require("revec.internals")

local SLACK = 1e-6

local function state(host) return (host:state()) end

local function running(options)
  local host = internals.host(options or {})
  host:sending(0)
  host:connected()
  host:answered(0)
  return host
end

local function gone(options, at)
  local host = running(options)
  for _ = 1, 10 do host:silent(at or 0, "connection refused") end
  return host
end

describe("a host at the start", function()
  it("is asked by one request until there is a connection, then by as many as allowed", function()
    local host = internals.host { max_concurrent = 8 }
    assert.equal("starting", state(host))
    assert.equal(1, host:limit(0))
    host:connected()
    assert.equal(8, host:limit(0))
    host:answered(1)
    assert.equal("running", state(host))
  end)

  it("is down as soon as it cannot be reached, and says why", function()
    local host = internals.host {}
    host:silent(0, "connection refused")
    assert.same({ "down", "connection refused" }, { host:state() })
    assert.equal(0, host:limit(0))
  end)

  it("is not down when it was connected and only one attempt failed", function()
    local host = internals.host {}
    host:connected()
    host:silent(0, "reset")
    assert.equal("starting", state(host))
  end)
end)

describe("a host that does not answer", function()
  it("is gone after ten attempts in a row, not after nine", function()
    local host = running()
    for _ = 1, 9 do host:silent(1, "timed out") end
    assert.same({ "running", "" }, { host:state() })
    assert.equal(5, host:limit(1))
    host:silent(1, "timed out")
    assert.same({ "paused", "timed out" }, { host:state() })
    assert.equal(0, host:limit(1))
  end)

  it("is not gone while any answer comes between, a throttled one too", function()
    for _, hold in ipairs { false, 0.1 } do
      local host = running()
      for i = 1, 40 do
        host:silent(i, "timed out")
        if i % 9 == 0 then host:answered(i, hold or nil) end
      end
      assert.not_equal("paused", state(host))
    end
  end)

  it("is probed at once, then at waits that double up to five seconds", function()
    local host = gone({ retry_delay = 0.4, down_timeout = 1000 }, 100)
    local now, waits = 100, {}
    for i = 1, 9 do
      assert.is_true(host:probe_due(now))
      host:probing()
      assert.is_false(host:probe_due(now + 1000))
      host:silent(now, "refused")
      host:probed(now)
      local due = host:wakes(now)
      assert.is_false(host:probe_due(due - SLACK))
      waits[i] = due - now
      now = due
    end
    for i, wait in ipairs(waits) do assert.near(math.min(5, 0.4 * 2 ^ (i - 1)), wait, SLACK) end
  end)

  it("is probed at least 50 ms apart even without a retry delay", function()
    local host = gone { retry_delay = 0, down_timeout = 1000 }
    for now = 0, 99 do
      host:probing()
      host:probed(now)
      assert.near(now + 0.05, host:wakes(now), SLACK)
    end
  end)

  it("is back on any answer, and probed anew from short waits when it goes again", function()
    local host = gone({ retry_delay = 1 })
    for now = 0, 5 do
      host:probing()
      host:silent(now, "refused")
      host:probed(now)
    end
    host:probing()
    host:answered(10)
    host:probed(10)
    assert.same({ "running", "" }, { host:state() })
    assert.equal(5, host:limit(10))
    assert.is_false(host:probe_due(1000))
    for _ = 1, 10 do host:silent(20, "refused") end
    assert.is_true(host:probe_due(20))
    host:probing()
    host:probed(20)
    assert.near(21, host:wakes(20), SLACK)
  end)

  it("is down after down_timeout without an answer, and not before", function()
    local host = running { down_timeout = 60 }
    for i = 1, 10 do host:silent(100 + i, "refused") end
    host:probing()
    host:probed(110)
    host:probing()
    assert.near(161, host:wakes(110), SLACK)
    host:tick(161 - SLACK)
    assert.equal("paused", state(host))
    host:tick(161)
    assert.same({ "down", "refused" }, { host:state() })
    assert.equal(0, host:limit(161))
  end)

  it("is not down before a probe was silent, too, however long the attempts took", function()
    local host = running { down_timeout = 60 }
    for i = 1, 10 do host:silent(i < 6 and 60 or 120, "timed out") end
    host:tick(120)
    assert.equal("paused", state(host))
    assert.is_true(host:probe_due(120))
    host:probing()
    assert.is_true(host:wakes(120) > 1e6)
    host:tick(179)
    assert.equal("paused", state(host))
    host:silent(180, "timed out")
    host:probed(180)
    host:tick(180)
    assert.equal("down", state(host))
  end)

  it("stays down whatever still comes", function()
    local host = gone { down_timeout = 1 }
    host:probed(1)
    host:tick(1)
    host:answered(2)
    host:answered(2, 5)
    host:silent(2, "late")
    host:tick(100)
    assert.same({ "down", "connection refused" }, { host:state() })
    assert.is_false(host:probe_due(100))
  end)
end)

describe("a host that throttles", function()
  it("is left alone until the hold is over, then asked by one request until it accepts", function()
    local host = running()
    host:answered(10, 3, true, "rate_limited")
    assert.same({ "throttled", "rate_limited" }, { host:state() })
    assert.equal(0, host:limit(10))
    assert.equal(0, host:limit(13 - SLACK))
    assert.near(13, host:wakes(10), SLACK)
    assert.equal(1, host:limit(13))
    host:answered(13)
    assert.same({ "running", "" }, { host:state() })
    assert.equal(5, host:limit(13))
  end)

  it("is not left alone for less because a later answer asks for less", function()
    local host = running()
    host:answered(10, 30, true)
    host:answered(11, 1, true)
    assert.equal(0, host:limit(39))
    assert.equal(1, host:limit(40))
  end)

  it("is down when it has accepted nothing for down_timeout", function()
    local host = running { down_timeout = 60 }
    local now = 0
    while now < 60 do
      host:tick(now)
      assert.equal("throttled", now == 0 and "throttled" or state(host))
      host:answered(now, 0.5, false, "429")
      now = now + 1
    end
    host:tick(60)
    assert.same({ "down", "429" }, { host:state() })
  end)

  it("is not down for the time that it announced", function()
    local host = running { down_timeout = 60 }
    host:answered(0, 3600, true)
    host:tick(3600)
    assert.equal(1, host:limit(3600))
    host:tick(3659)
    assert.equal("throttled", state(host))
    host:tick(3660)
    assert.equal("down", state(host))
  end)

  it("holds once for a burst: refusals of what was in flight together do not add up", function()
    local host = running()
    for i = 0, 15 do host:answered(10 + i * 0.001, 0.1 * 2 ^ i, false, "429", 9.9) end
    assert.equal(0, host:limit(10.09))
    assert.equal(1, host:limit(10.11))
    -- One that was sent after the hold is a new refusal.
    host:answered(10.2, 0.5, false, "429", 10.15)
    assert.equal(0, host:limit(10.6))
  end)

  it("that went silent since is back with any answer, a late one too", function()
    local host = running()
    host:answered(10, 0.1, false, "429", 9.9)
    for i = 1, 10 do host:silent(11 + i, "gone") end
    assert.equal("paused", state(host))
    host:answered(22, nil, false, nil, 9.8)
    assert.equal("running", state(host))
  end)

  it("obeys a longer time that a late refusal announces", function()
    local host = running()
    host:answered(10, 0.1, false, "429", 9.9)
    host:answered(10.01, 30, true, "429", 9.9)
    assert.equal(0, host:limit(39))
  end)

  it("is not taken for willing because of an answer to what was sent before the hold", function()
    local host = running()
    host:answered(10, 0.1, false, "429", 9.9)
    host:answered(10.05, nil, false, nil, 9.8)
    assert.equal("throttled", state(host))
    assert.equal(1, host:limit(10.2))
    host:answered(10.3, nil, false, nil, 10.2)
    assert.equal("running", state(host))
  end)

  it("is down in the end when it announces again and again, as the time between adds up", function()
    local host, now = running { down_timeout = 60 }, 0
    for _ = 1, 200 do
      host:answered(now, 10, true, "429")
      now = now + 11 -- ten of them announced
      host:tick(now)
    end
    assert.equal("down", state(host))
  end)

  it("is down in the end when it announces no time at all, again and again", function()
    local host = running { down_timeout = 60 }
    for now = 0, 200 do
      host:answered(now, 0, true, "429")
      host:tick(now + 1)
    end
    assert.equal("down", state(host))
  end)

  it("is not down when it accepts something now and then", function()
    local host = running { down_timeout = 60 }
    for now = 0, 1000 do
      if now % 50 == 0 then host:answered(now) else host:answered(now, 0.5) end
      host:tick(now + 0.9)
      assert.not_equal("down", state(host))
    end
  end)
end)

describe("a rate", function()
  it("spaces requests evenly, and lets none be made up for later", function()
    local host = running { rate = 4 }
    local sent, now = {}, 1000
    while now < 1100 do
      now = host:wakes(now)
      if now > 1050 and now < 1060 then now = 1060 end -- nothing to send for a while
      assert.equal(5, host:limit(now))
      host:sending(now)
      sent[#sent + 1] = now
      if #sent > 1 then assert.is_true(sent[#sent] - sent[#sent - 1] > 0.25 - 0.01 - SLACK) end
    end
    local before, after = 0, 0
    for _, at in ipairs(sent) do
      if at < 1050 then before = before + 1 end
      if at >= 1060 and at < 1090 then after = after + 1 end
    end
    assert.is_true(before >= 199 and before <= 201)
    assert.is_true(after >= 119 and after <= 121)
  end)

  it("is used in full though timers are a little late", function()
    local host = running { rate = 50 }
    local sent, now = 0, 1000
    while now < 1100 do
      now = host:wakes(now) + (sent % 3) * 0.004
      host:sending(now)
      sent = sent + 1
    end
    assert.is_true(sent >= 5000 and sent <= 5002, sent .. " of 5000")
  end)

  it("lets nothing start between two slots", function()
    local host = running { rate = 0.5 }
    host:sending(10)
    local slot = host:wakes(10)
    assert.is_true(slot > 11.8 and slot <= 12)
    assert.equal(0, host:limit(slot - SLACK))
    assert.equal(5, host:limit(slot + SLACK))
  end)

  it("does not limit anything when it is 0", function()
    local host = running { rate = 0 }
    for _ = 1, 100 do host:sending(10) end
    assert.equal(5, host:limit(10))
    assert.equal(10, host:wakes(10))
  end)
end)

describe("give_up", function()
  it("ends it for good, with the reason given, however long that is", function()
    local host = running()
    host:give_up("out of memory")
    host:answered(1)
    assert.same({ "down", "out of memory" }, { host:state() })
    host:give_up(("x"):rep(1000))
    assert.equal(("x"):rep(255), (select(2, host:state())))
  end)
end)
