-- What one attempt's outcome is called, and whether, when and at whose cost it is tried again.

require("spec.support.paths")
local internals = require("revec.internals")

local json = { wants_json = true }
local says = { wants_json = true, status_field = true, throttle = { "rate limit", "busy" }, denied = { "quota", "key" } }

local function good(more)
  local answer = { status = 200, json_complete = true, json_object = true, said = '"success"' }
  for name, value in pairs(more or {}) do answer[name] = value end
  return answer
end

local function answers(status, body, retry_after)
  return { status = status, body = body, has_retry_after = retry_after, json_complete = true, json_object = true }
end

describe("classify", function()
  local by_transport = {
    { "no connection", "connect", "unreachable" }, { "a refused certificate", "tls", "tls" },
    { "no answer in time", "timeout", "timeout" }, { "a broken answer", "cut", "cut_short" },
    { "something that is not HTTP", "garbage", "bad_answer" }, { "an answer over its cap", "capped", "too_large" },
  }
  for _, case in ipairs(by_transport) do
    it("calls " .. case[1] .. " " .. case[3], function()
      for _, rules in ipairs { {}, json, says } do
        assert.equal(case[3], internals.classify(rules, { transport = case[2] }))
        assert.equal(case[3], internals.classify(rules, good { transport = case[2] }))
      end
    end)
  end

  it("believes a refusal that came before the connection broke", function()
    for status, kind in pairs { [413] = "rejected", [401] = "denied", [429] = "rate_limited", [503] = "overloaded" } do
      for _, transport in ipairs { "cut", "timeout" } do
        assert.equal(kind, internals.classify(says, { transport = transport, status = status }))
      end
    end
    assert.equal("cut_short", internals.classify({ accepted = { 404 } }, { transport = "cut", status = 404 }))
    assert.equal("cut_short", internals.classify(says, { transport = "cut", status = 302 }))
  end)

  local by_status = {
    [0] = "bad_answer", [100] = "bad_answer", [199] = "bad_answer", [300] = "bad_answer", [301] = "bad_answer",
    [302] = "bad_answer", [304] = "bad_answer", [307] = "bad_answer", [400] = "rejected", [401] = "denied",
    [402] = "denied", [403] = "denied", [404] = "not_found", [405] = "rejected", [407] = "denied", [408] = "timeout",
    [409] = "rejected", [410] = "not_found", [413] = "rejected", [415] = "rejected", [418] = "rejected",
    [422] = "rejected", [425] = "overloaded", [429] = "rate_limited", [431] = "rejected", [499] = "rejected",
    [500] = "backend_error", [501] = "backend_error", [502] = "backend_error", [503] = "overloaded",
    [504] = "backend_error", [507] = "backend_error", [529] = "overloaded", [599] = "backend_error",
    [600] = "bad_answer", [999] = "bad_answer",
  }
  it("knows every status by its rule, whatever was expected of the body", function()
    for status, kind in pairs(by_status) do
      for _, rules in ipairs { {}, json, says } do
        assert.equal(kind, internals.classify(rules, answers(status)), status)
        assert.equal(kind, internals.classify(rules, { status = status }), status)
      end
    end
  end)

  it("calls nginx's 400 for want of a certificate denied", function()
    for _, title in ipairs { "400 No required SSL certificate was sent", "400 The SSL certificate error" } do
      local body = "<html>\r\n<head><title>" .. title .. "</title></head>\r\n"
      for _, rules in ipairs { {}, json, says } do
        assert.equal("denied", internals.classify(rules, { status = 400, body = body }))
      end
      assert.equal("backend_error", internals.classify(says, { status = 500, body = body }))
    end
  end)

  it("calls any 2xx an answer", function()
    for _, status in ipairs { 200, 201, 202, 204, 299 } do
      assert.equal("ok", internals.classify({}, { status = status }))
      assert.equal("ok", internals.classify(says, good { status = status }))
    end
  end)

  it("calls a 503 or 529 with a time to wait rate_limited, but no other status", function()
    assert.equal("rate_limited", internals.classify({}, answers(503, nil, true)))
    assert.equal("rate_limited", internals.classify({}, answers(529, nil, true)))
    assert.equal("backend_error", internals.classify({}, answers(500, nil, true)))
    assert.equal("timeout", internals.classify({}, answers(408, nil, true)))
  end)

  it("lets the body of a failure tell throttled from denied from the rest", function()
    local cases = {
      { 500, "provider: rate limit reached", "rate_limited" }, { 500, "quota exceeded", "denied" },
      { 500, "rate limit by quota", "denied" }, { 400, "bad key", "denied" }, { 422, "busy", "rate_limited" },
      { 503, "quota", "denied" }, { 429, "quota", "denied" }, { 429, "busy", "rate_limited" }, { 429, "bye", "rate_limited" },
      { 500, "out of memory", "backend_error" }, { 400, "no such image", "rejected" },
      { 500, "", "backend_error" }, { 404, "busy", "not_found" },
      { 500, "xx\0 rate limit", "rate_limited" },
    }
    for _, case in ipairs(cases) do
      assert.equal(case[3], internals.classify(says, answers(case[1], case[2])), case[1] .. " " .. case[2])
    end
    assert.equal("backend_error", internals.classify(json, answers(500, "rate limit")))
  end)

  it("wants a whole JSON object where one was promised", function()
    assert.equal("bad_answer", internals.classify(json, { status = 200 }))
    assert.equal("cut_short", internals.classify(json, { status = 200, json_object = true }))
    assert.equal("ok", internals.classify(json, { status = 200, json_object = true, json_complete = true }))
  end)

  it("believes a 200 only when it says success", function()
    assert.equal("ok", internals.classify(says, good()))
    local cases = { ['"error"'] = "backend_error", ['"Success"'] = "backend_error", ["true"] = "backend_error" }
    for said, kind in pairs(cases) do assert.equal(kind, internals.classify(says, good { said = said })) end
    assert.equal("bad_answer", internals.classify(says, answers(200)))
    assert.equal("rate_limited", internals.classify(says, good { said = '"error"', body = "busy, come back" }))
    assert.equal("denied", internals.classify(says, good { said = '"error"', body = "quota" }))
    assert.equal("ok", internals.classify(says, good { body = "quota" }))
  end)

  it("takes other statuses for answers where the request says so", function()
    local rules = { wants_json = true, status_field = true, accepted = { 404, 410 } }
    assert.equal("ok", internals.classify(rules, answers(404)))
    assert.equal("ok", internals.classify(rules, answers(410)))
    assert.equal("rejected", internals.classify(rules, answers(409)))
    assert.equal("bad_answer", internals.classify(rules, { status = 404 }))
  end)
end)

describe("backoff", function()
  it("draws from nothing to twice the last bound, up to a minute", function()
    for _, base in ipairs { 0, 0.001, 0.1, 1, 7, 60, 3600 } do
      for n = 0, 70 do
        local bound = math.min(60, base * 2 ^ math.min(n, 60))
        assert.equal(0, internals.backoff(base, n, 0))
        assert.near(bound / 2, internals.backoff(base, n, 0.5), 1e-9)
        assert.is_true(internals.backoff(base, n, 1 - 2 ^ -53) <= bound)
      end
    end
    assert.equal(30, internals.backoff(1, 1000, 0.5))
  end)
end)

describe("decide", function()
  local function decide(attempt, policy) return internals.decide(policy or { max_retries = 3, retry_delay = 1 }, attempt) end
  local final = { "ok", "denied", "not_found", "rejected", "bad_answer", "too_large", "pending" }
  local tried_again = { timeout = 0, cut_short = 0, overloaded = 503, backend_error = 500 }

  it("tries again what is not HTTP, as a status line that was cut is not", function()
    assert.is_true(decide({ kind = "bad_answer", status = 0 }).retry)
    assert.is_false(decide({ kind = "bad_answer", status = 0, counted = 3 }).retry)
  end)

  it("does not try again what would be no different", function()
    for _, kind in ipairs(final) do
      for _, status in ipairs(kind == "bad_answer" and { 200, 302, 404 } or { 0, 200, 404, 500 }) do
        for _, retry_after in ipairs { -1, 0, 30 } do
          assert.same({ retry = false, counts = true, holds = false, delay = 0 },
            decide { kind = kind, status = status, retry_after = retry_after })
        end
      end
    end
  end)

  for kind, status in pairs(tried_again) do
    it("tries " .. kind .. " again as often as allowed, and counts each", function()
      for max_retries = 0, 5 do
        for counted = 0, 6 do
          local d = decide({ kind = kind, status = status, counted = counted }, { max_retries = max_retries })
          assert.same({ counted < max_retries, true, false }, { d.retry, d.counts, d.holds })
          if not d.retry then assert.equal(0, d.delay) end
        end
      end
    end)

    it("waits after " .. kind .. " for a random part of a growing time, or as long as it was asked to", function()
      for backoffs = 0, 12 do
        for _, random in ipairs { 0, 0.25, 0.999 } do
          local attempt = { kind = kind, status = status, backoffs = backoffs, random = random }
          assert.near(random * math.min(60, 2 ^ backoffs), decide(attempt).delay, 1e-9)
          attempt.retry_after = 40
          assert.near(math.max(40, random * math.min(60, 2 ^ backoffs)), decide(attempt).delay, 1e-9)
        end
      end
    end)
  end

  it("does not try again a failure that a 200 tells of", function()
    assert.is_false(decide({ kind = "backend_error", status = 200 }).retry)
    assert.is_true(decide({ kind = "backend_error", status = 599 }).retry)
  end)

  for _, kind in ipairs { "unreachable", "tls" } do
    it("goes on trying after " .. kind .. " without counting", function()
      for counted = 0, 10 do
        for backoffs = 0, 200, 50 do
          local d = decide { kind = kind, counted = counted, backoffs = backoffs }
          assert.same({ retry = true, counts = false, holds = false, delay = math.min(30, 0.5 * 2 ^ backoffs) }, d)
        end
      end
    end)
  end

  it("holds the host when throttled, and never counts that", function()
    for counted = 0, 5 do
      for _, retry_after in ipairs { -1, 0, 1, 3600 } do
        local d = decide { kind = "rate_limited", status = 429, counted = counted, retry_after = retry_after }
        assert.same({ true, false, true }, { d.retry, d.counts, d.holds })
      end
    end
  end)

  it("never comes earlier than asked, and at most a tenth or ten seconds later", function()
    for _, asked in ipairs { 1, 2, 60, 100, 1000, 21600 } do
      assert.equal(asked, decide({ kind = "rate_limited", retry_after = asked, random = 0 }).delay)
      local late = decide({ kind = "rate_limited", retry_after = asked, random = 0.999999 }).delay
      assert.is_true(late > asked and late <= asked + math.min(10, asked / 10))
    end
  end)

  it("waits for a growing time of its own when the server names none", function()
    local before = 0
    for throttles = 0, 80 do
      local least = decide({ kind = "rate_limited", throttles = throttles, random = 0 }).delay
      local most = decide({ kind = "rate_limited", throttles = throttles, random = 0.999999 }).delay
      assert.is_true(least > 0 and least >= before and most < 2 * least and most <= 60)
      before = least
    end
    assert.equal(30, before)
    assert.is_true(decide({ kind = "rate_limited", random = 0.999999 }).delay <= 0.1)
  end)

  it("does not come back at once to a server that throttles and says to wait for no time", function()
    for throttles = 3, 20 do
      assert.is_true(decide({ kind = "rate_limited", retry_after = 0, throttles = throttles, random = 0.5 }).delay > 0)
    end
  end)
end)

describe("retry_after", function()
  local now = 784111777 -- Sun, 06 Nov 1994 08:49:37 GMT
  local day = "Sun, 06 Nov 1994 08:49:37 GMT"
  local cases = {
    ["0"] = 0, ["1"] = 1, ["120"] = 120, ["007"] = 7, [" 5 "] = 5, ["\t5\r\n"] = 5, ["21600"] = 21600, ["21601"] = 21600,
    ["1000000000"] = 21600, ["99999999999999999999999999"] = 21600, ["1.5"] = 2, ["0.001"] = 1, ["21600.5"] = 21600,
    ["-1"] = -1, ["-0"] = -1, ["+5"] = -1, ["abc"] = -1, [""] = -1, [" "] = -1, ["1e9"] = -1, ["0x10"] = -1, ["5s"] = -1,
    ["3600 ;x"] = -1, ["1,2"] = -1, ["1."] = -1, [".5"] = -1, ["1.5.5"] = -1, ["NaN"] = -1, ["inf"] = -1, ["soon"] = -1,
    ["Sun"] = -1, ["Sun, 06 Nov"] = -1, ["20301231"] = 21600,
    ["Sun, 06 Nov 1994 08:50:37 GMT"] = 60, ["Sunday, 06-Nov-94 08:50:37 GMT"] = 60, ["Sun Nov  6 08:50:37 1994"] = 60,
    ["Sun, 06 Nov 1994 08:49:37 GMT"] = 0, ["Sun, 06 Nov 1994 08:00:00 GMT"] = 0, ["Thu, 01 Jan 1970 00:00:00 GMT"] = 0,
    ["Fri, 31 Dec 2100 23:59:59 GMT"] = 21600, ["Sun, 06 Nov 1994 14:49:36 GMT"] = 21599,
    ["Sun, 99 Nov 1994 08:50:37 GMT"] = -1,
  }
  for value, seconds in pairs(cases) do
    it(("reads %q as %s"):format(value, seconds < 0 and "nothing" or seconds .. " s"), function()
      assert.equal(seconds, internals.retry_after(value, nil, now))
    end)
  end

  it("measures a date against the answer's own clock", function()
    for _, skew in ipairs { -86400 * 365, -3600, 0, 3600, 86400 * 365 } do
      for _, date in ipairs { day, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994" } do
        assert.equal(60, internals.retry_after("Sun, 06 Nov 1994 08:50:37 GMT", date, now + skew))
        assert.equal(0, internals.retry_after("Sun, 06 Nov 1994 08:49:36 GMT", date, now + skew))
      end
    end
  end)

  it("measures it against the local clock when the answer's cannot be read", function()
    assert.equal(60, internals.retry_after("Sun, 06 Nov 1994 08:50:37 GMT", "yesterday", now))
  end)

  it("takes seconds as they are, whatever the clocks say", function()
    assert.equal(60, internals.retry_after("60", day, now + 12345))
  end)
end)
