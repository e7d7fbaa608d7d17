-- What a backend may do to a run: the real command against a server that misbehaves on request.
local harness = require "spec.support.harness"
local server = require "spec.support.server"

local NAMES = { "a.jpg", "b.jpg", "c.jpg" }

-- Runs the command on three images against a server with this handler; the result, with the server's requests.
local function against(handler, args, more)
  more = more or {}
  local s = server.start("return function(request, reply)\n" .. handler .. "\nend", more.server)
  local all = { "--storage-path", harness.tree(more.names or NAMES), "--api-url", s.url, "--retry-delay", "0.01", "--check", "each" }
  for _, argument in ipairs(args or {}) do all[#all + 1] = argument end
  local result = harness.run { args = all, env = { LC_ALL = "C" }, timeout = 60 }
  result.requests = s:requests()
  s:stop()
  result.record = harness.records(result.cwd)[1]
  function result.count(pattern)
    local n = 0
    for _, request in ipairs(result.requests) do
      if (request.method .. " " .. request.target):find(pattern) then n = n + 1 end
    end
    return n
  end
  return result
end

-- The handler's answer to look-ups is "not indexed", to embeds this.
local function embeds(answer)
  return "if request.method == 'GET' then return reply.not_indexed() end\n" .. answer
end

local function ends_with(result, code, counts)
  assert.equal(code, result.code, result.output)
  local got = {}
  for key in pairs(counts) do got[key] = tonumber(result.stderr:match(" %- INFO %- " .. key .. ": (%d+)\n")) end
  assert.same(counts, got)
end

describe("an answer to an embed request", function()
  after_each(harness.cleanup)

  -- name, handler, kind, message on record (a pattern), attempts
  local final = {
    { "that is not JSON", "reply.send(200, {}, 'fine')", "bad_answer", "^fine$", 1 },
    { "that is empty", "reply.send(200, {}, '')", "bad_answer", "^an empty answer$", 1 },
    { "that has no body (204)", "reply.raw('HTTP/1.1 204 No Content\\r\\n\\r\\n')", "bad_answer", "^an empty answer$", 1 },
    { "that says it failed", [[reply.json(200, '{"status":"error","message":"no such model"}')]], "backend_error", "^no such model$", 1 },
    { "that does not say how it went", [[reply.json(200, '{"data":[]}')]], "bad_answer", [[^{"data":%[%]}$]], 1 },
    { "that is an HTML page", "reply.send(200, {['Content-Type']='text/html'}, '<html>login</html>')", "bad_answer", "^an HTML page instead of an answer$", 1 },
    { "that redirects", "reply.send(302, {Location='http://127.0.0.1:1/'}, '')", "bad_answer", "^a redirect %(302%) to http://127.0.0.1:1/, which is not followed$", 1 },
    { "that redirects nowhere", "reply.send(301, {}, '')", "bad_answer", "^an empty answer$", 1 },
    { "that is not HTTP", "reply.raw('garbage\\r\\n\\r\\n') reply.close()", "bad_answer", "HTTP/0.9", 3 },
    { "404", [[reply.json(404, '{"detail":"图片不存在: x"}')]], "not_found", "^图片不存在: x$", 1 },
    { "422, as FastAPI says it", [[reply.json(422, '{"detail":[{"loc":["query","image_id"],"msg":"too long"},{"msg":"odd"}]}')]], "rejected", "^too long; odd$", 1 },
    { "413 before the connection is reset", [[reply.raw('HTTP/1.1 413 X\r\nContent-Length: 99\r\n\r\n{"detail":"big"}') reply.reset()]], "rejected", "", 1 },
    { "202, only accepted", [[reply.json(202, '{"status":"processing"}')]], "backend_error", "processing", 1 },
    { "that has no body (205)", [[reply.raw('HTTP/1.1 205 X\r\nContent-Length: 0\r\n\r\n')]], "bad_answer", "^an empty answer$", 1 },
    { "that says nothing is new (304)", [[reply.raw('HTTP/1.1 304 X\r\n\r\n')]], "bad_answer", "^an empty answer$", 1 },
    { "of status 999", [[reply.raw('HTTP/1.1 999 X\r\nContent-Length: 20\r\n\r\n{"status":"success"}')]], "bad_answer", "success", 1 },
    { "of status 000", [[reply.raw('HTTP/1.1 000 X\r\nContent-Length: 20\r\n\r\n{"status":"success"}')]], "bad_answer", "", 3 },
    { "with a NUL among its headers", [[reply.raw('HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 20\r\n\r\n{"status":"success"}') reply.close()]], "bad_answer", "", 1 },
    { "packed though not asked for so", [[reply.send(200, {['Content-Encoding']='gzip'}, '\31\139\8\0\0\0\0\0\0\3')]], "bad_answer", "", 1 },
    { "whose length is a lie (too long)", [[reply.raw('HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"status":"success"}') reply.close()]], "cut_short", "", 3 },
    { "whose headers come too slowly", [[reply.drip('HTTP/1.1 200 OK\r\n\r\n', 0.05)]], "timeout", "timed out", 3, { "--timeout", "0.2" } },
    { "whose body comes too slowly",
      [[reply.raw('HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n') reply.drip('{"status":"success"}', 0.05)]], "timeout", "timed out", 3, { "--timeout", "0.2" } },
    { "400", [[reply.json(400, '{"detail":"bad id"}')]], "rejected", "^bad id$", 1 },
    { "larger than its cap", "reply.send(200, {}, '{\"a\":\"' .. ('x'):rep(2^20) .. '\"}')", "too_large", "^the answer is larger than allowed$", 1 },
    { "500", [[reply.json(500, '{"detail":"Internal Server Error"}')]], "backend_error", "^Internal Server Error$", 3 },
    { "503 from a proxy", "reply.send(503, {}, '<html>')", "overloaded", "^an HTML page instead of an answer$", 3 },
    { "408", "reply.json(408, '{}')", "timeout", "^{}$", 3 },
    { "425", "reply.json(425, '{}')", "overloaded", "^{}$", 3 },
    { "that ends with half of its JSON", [[reply.send(200, {}, '{"status":"success","message":"ok","data":[{"embedding":[0.1,')]], "cut_short", "^ok$", 3 },
    { "cut by a closed connection", "reply.cut(700, 'fin')", "cut_short", "closed with %d+ bytes remaining", 3 },
    { "cut by a reset", "reply.cut(700, 'rst')", "cut_short", "reset", 3 },
    { "that never comes", "reply.hang()", "timeout", "timed out after 2%d%d milliseconds", 3, { "--timeout", "0.2" } },
  }
  for _, case in ipairs(final) do
    it(case[1] .. " fails the image as " .. case[3] .. (case[5] > 1 and ", once it was tried again" or ", at once"), function()
      local args = { "--max-retries", "2" }
      for _, argument in ipairs(case[6] or {}) do args[#args + 1] = argument end
      local result = against(embeds("if request.id ~= 'b' then return reply.embedding(request.id) end\n" .. case[2]), args)
      ends_with(result, 1, { Succeeded = 2, Failed = 1, Skipped = 0 })
      local entry = result.record[1]
      assert.same({ "b", case[3], case[5] }, { entry.id, entry.kind, entry.attempts })
      assert.matches(case[4], entry.error)
      assert.equal(case[5], result.count("^POST .*image_id=b&"))
      -- What may have landed is looked up before each further attempt.
      local asked = (case[3] ~= "backend_error" and case[3] ~= "overloaded") and case[5] - 1 or 0
      assert.equal(1 + asked, result.count("^GET .*/b$"))
      assert.equal(case[5] + 1 + asked, entry.sends)
    end)
  end

  it("is tried again until it is good", function()
    local result = against(embeds("if request.seen < 3 then return reply.cut(100 * request.seen, 'rst') end reply.embedding(request.id)"))
    ends_with(result, 0, { Succeeded = 3, Failed = 0, Retries = 6 })
    assert.equal(9, result.count("^POST "))
  end)

  -- What a lenient reader may take for good: success or not, the next answer on that connection is never mixed up with it.
  local odd = {
    { "of another content type", [[reply.send(200, {['Content-Type']='text/plain'}, reply.embedding_text(request.id))]] },
    { "with more bytes than its length", [[local body = reply.embedding_text(request.id)
      reply.raw('HTTP/1.1 200 OK\r\nContent-Length: ' .. #body .. '\r\n\r\n' .. body .. 'HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n')]] },
    { "with a folded header", [[local body = reply.embedding_text(request.id)
      reply.raw('HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: ' .. #body .. '\r\n\r\n' .. body)]] },
    { "with a length beside its chunks", [[local body = reply.embedding_text(request.id)
      reply.raw(('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n'):format(#body, body))]] },
    { "after interim answers", [[for _ = 1, 5 do reply.raw('HTTP/1.1 103 Early Hints\r\n\r\n') end reply.embedding(request.id)]] },
  }
  for _, case in ipairs(odd) do
    it(case[1] .. " is taken as it is meant, and no other with it", function()
      local result = against(embeds(case[2]), { "--max-concurrent", "1" }, { server = { dim = 8 } })
      ends_with(result, 0, { Succeeded = 3, Failed = 0, Skipped = 0 })
      assert.equal(3, result.count("^POST "))
    end)
  end

  it("with two lengths is believed by neither", function()
    local result = against(embeds [[if request.seen > 1 then return reply.embedding(request.id) end
      reply.raw('HTTP/1.1 200 OK\r\nContent-Length: 20\r\nContent-Length: 40\r\n\r\n{"status":"success"}') reply.close()]])
    ends_with(result, 0, { Succeeded = 3, Failed = 0, Retries = 3 })
  end)

  it("that comes after its timeout is taken for no other request's", function()
    local result = against(embeds [[if request.id == 'a' and request.seen == 1 then
        reply.sleep(0.3) return reply.json(400, '{"detail":"late"}')
      end
      reply.embedding(request.id)]], { "--max-concurrent", "1", "--timeout", "0.2" })
    ends_with(result, 0, { Succeeded = 3, Failed = 0, Retries = 1 })
    local late
    for _, request in ipairs(result.requests) do
      if late then assert.are_not.equal(late, request.connection) end
      if request.method == "POST" and request.id == "a" and request.seen == 1 then late = request.connection end
    end
  end)

  it("may be slow to arrive", function()
    local result = against(embeds("reply.sleep(0.5) reply.embedding(request.id)"))
    ends_with(result, 0, { Succeeded = 3 })
  end)
end)

describe("a backend that fails half of what it is asked", function()
  after_each(harness.cleanup)

  for _, concurrency in ipairs { "8", "auto" } do
    it("whatever its load, costs no image, and twice the requests (S33): " .. concurrency .. " at once", function()
      local names = {}
      for i = 1, 100 do names[i] = string.format("%03d.jpg", i) end
      local result = against([[if math.random() < 0.5 then return reply.json(503, '{"detail":"later"}') end
        reply.correctly()]], { "--max-retries", "30", "--max-concurrent", concurrency }, { names = names, server = { dim = 8 } })
      ends_with(result, 0, { Succeeded = 100, Failed = 0, Skipped = 0, Retries = #result.requests - 200 })
      -- 400 are expected; a deviation of eight times the standard one, sqrt(400), is none of chance.
      assert.is_true(#result.requests < 560, #result.requests)
    end)
  end
end)

describe("a backend that always fails a tenth of the images", function()
  after_each(harness.cleanup)

  for _, concurrency in ipairs { "8", "auto" } do
    it("(S32) indexes all others, and is asked for those no more than it may be: " .. concurrency .. " at once", function()
      local names = {}
      for i = 1, 100 do names[i] = string.format("%03d.jpg", i) end
      local result = against(embeds [[if request.id:find("0$") then return reply.json(500, '{"detail":"unsupported format: ' .. request.id .. '"}') end
        reply.embedding()]], { "--max-retries", "3", "--max-concurrent", concurrency }, { names = names, server = { dim = 8 } })
      ends_with(result, 1, { Succeeded = 90, Failed = 10, Skipped = 0, Retries = 30 })
      assert.equal(100 + 90 + 10 * 4, #result.requests)
      assert.equal(10, #result.record)
      for _, entry in ipairs(result.record) do
        assert.same({ "backend_error", 500, "unsupported format: " .. entry.id, 4 }, { entry.kind, entry.status, entry.error, entry.attempts })
      end
    end)
  end
end)

describe("a throttled answer", function()
  after_each(harness.cleanup)

  it("is no failed attempt, whatever its form", function()
    local result = against(embeds [[
      local n = request.seen
      if n == 1 then return reply.json(429, '{"detail":"slow down"}') end
      if n == 2 then return reply.json(503, '{}', {['Retry-After'] = '0'}) end
      if n == 3 then return reply.json(500, '{"detail":"Throttling.RateQuota: too many"}') end
      if n == 4 then return reply.json(200, '{"status":"error","message":"Throttling"}') end
      reply.embedding(request.id)]], { "--max-retries", "0" })
    ends_with(result, 0, { Succeeded = 3, Failed = 0, Throttled = 12 })
  end)

  for _, concurrency in ipairs { "8", "auto" } do
    it("to everything for a second (S28) costs no image, and few requests: " .. concurrency .. " at once", function()
      local names = {}
      for i = 1, 50 do names[i] = string.format("%03d.jpg", i) end
      local result = against([[
        state.first = state.first or request.time
        if request.time < state.first + 1 then return reply.json(429, '{}') end
        reply.correctly()]], { "--retry-delay", "1", "--max-retries", "0", "--max-concurrent", concurrency }, { names = names, server = { dim = 8 } })
      ends_with(result, 0, { Succeeded = 50, Failed = 0, Skipped = 0, Throttled = #result.requests - 100 })
      -- Waits of 50 to 100 ms, doubled each time: five to a second; what was in flight at the first, and two without a hold under auto.
      assert.is_true(#result.requests <= 100 + 5 + 8 + 2, #result.requests)
    end)
  end

  for _, concurrency in ipairs { "3", "auto" } do
    it("holds back everything until Retry-After, " .. concurrency .. " at once", function()
      local result = against(embeds [[
        state.first = state.first or request.time
        if request.time < state.first + 0.99 then return reply.json(429, '{}', {['Retry-After'] = '1'}) end
        reply.embedding(request.id)]], { "--max-concurrent", concurrency })
      ends_with(result, 0, { Succeeded = 3 })
      local embeds_at = {}
      for _, request in ipairs(result.requests) do
        if request.method == "POST" then embeds_at[#embeds_at + 1] = request.time - (embeds_at[0] or request.time) end
        if request.method == "POST" then embeds_at[0] = embeds_at[0] or request.time end
      end
      -- At most the three that were in flight when it came, then none before the second is over.
      for _, at in ipairs(embeds_at) do assert.is_true(at < 0.5 or at >= 0.99, at) end
    end)
  end
end)

describe("a look-up", function()
  after_each(harness.cleanup)

  it("that fails after its retries fails the image: nothing is embedded blind", function()
    local result = against("reply.json(503, '{\"detail\":\"index is not up\"}')", { "--max-retries", "1" })
    ends_with(result, 1, { Succeeded = 0, Failed = 3 })
    assert.equal(0, result.count("^POST "))
    assert.equal(6, result.count("^GET "))
    assert.equal("overloaded", result.record[1].kind)
  end)

  it("answered with a 404 that is no API's does not mean 'not indexed'", function()
    local result = against("reply.send(404, {}, '<html>nginx</html>')")
    ends_with(result, 1, { Failed = 3 })
    assert.equal(0, result.count("^POST "))
  end)

  it("tells which images are indexed", function()
    local result = against([[
      if request.method == 'GET' and request.id == 'b' then return reply.vector(request.id) end
      if request.method == 'GET' then return reply.not_indexed() end
      reply.embedding(request.id)]])
    ends_with(result, 0, { Succeeded = 2, Skipped = 1 })
  end)
end)

describe("a backend that wants nothing of us", function()
  after_each(harness.cleanup)

  local many = {}
  for i = 1, 150 do many[i] = string.format("%03d.jpg", i) end

  it("denied at once: the run ends with 3, and nothing has failed", function()
    local result = against("reply.json(401, '{\"detail\":\"who are you\"}')", {}, { names = many })
    ends_with(result, 3, { Succeeded = 0, Failed = 0, Pending = 150 })
    assert.matches("Backend denies access %(http://127[^)]*%): who are you%. Check", result.stderr)
    assert.is_true(#result.requests <= 10)
    assert.is_nil(result.record)
  end)

  for _, why in ipairs { "Arrearage: overdue payment", "InvalidApiKey: Invalid API-key provided." } do
    it("denied by the provider behind it, in mid-run: five in a row end it: " .. why, function()
      local result = against(embeds(([[
        if request.n < 20 then return reply.embedding(request.id) end
        reply.json(500, '{"detail":"%s"}')]]):format(why)), {}, { names = many })
      assert.equal(3, result.code)
      assert.is_truthy(result.stderr:find("Backend denies access (http://127.0.0.1:", 1, true), result.stderr)
      assert.is_truthy(result.stderr:find(why, 1, true), result.stderr)
      assert.is_nil(result.record)
    end)
  end

  for what, answer in pairs { failures = "reply.json(500, '{}')", ["answers too large"] = "reply.send(200, {}, ('x'):rep(2^20 + 1))" } do
    it("a hundred " .. what .. " in a row: 3, the rest pending", function()
      local result = against(embeds(answer), { "--max-retries", "0" }, { names = many })
      assert.equal(3, result.code)
      local failed = tonumber(result.stderr:match("INFO %- Failed: (%d+)\n"))
      assert.is_true(failed >= 100 and failed < 150, failed)
      assert.equal(failed, #result.record)
      assert.equal(150 - failed, tonumber(result.stderr:match("INFO %- Pending: (%d+)\n")))
    end)
  end

  it("nothing but HTML: it ends after twenty", function()
    local result = against("reply.send(200, {}, '<html>captive portal</html>')", {}, { names = many })
    assert.equal(3, result.code)
    assert.is_true(#result.requests <= 35, #result.requests)
  end)
end)

describe("a backend with another path", function()
  after_each(harness.cleanup)

  it("knows no such route: the run ends after twenty images, not after a million", function()
    local names = {}
    for i = 1, 100 do names[i] = string.format("%03d.jpg", i) end
    local result = against([[reply.json(404, '{"detail":"Not Found"}')]], {}, { names = names })
    assert.equal(3, result.code)
    assert.is_true(#result.record >= 19 and #result.record <= 40, #result.record)
  end)
end)

describe("an image that is denied in mid-run", function()
  after_each(harness.cleanup)

  it("is pending, and the exit code tells", function()
    local result = against(embeds "if request.id == 'b' then return reply.json(403, '{\"detail\":\"not you\"}') end reply.embedding(request.id)",
      { "--max-concurrent", "1" })
    ends_with(result, 1, { Succeeded = 2, Failed = 0, Pending = 1 })
    assert.matches("ERROR %- API call failed: 403 %- not you\n.*Rebuild not finished", result.stderr)
  end)
end)

describe("a connection", function()
  after_each(harness.cleanup)

  it("that the server closes when it is idle costs no image", function()
    local result = against(embeds "reply.sleep(0.05) reply.embedding(request.id)", { "--max-concurrent", "2" },
      { server = { idle_close = 0.02, requests_per_connection = 3 } })
    ends_with(result, 0, { Succeeded = 3, Failed = 0 })
  end)

  it("carries our headers and our token, and no log shows it", function()
    local s = server.start [[return function(request, reply)
      if request.method == 'GET' then return reply.not_indexed() end
      reply.embedding(request.id)
    end]]
    local result = harness.run {
      args = { "--storage-path", harness.tree(NAMES), "--api-url", s.url .. "/", "--header", "X-One: 1", "--header", "X-Two: 2",
               "--token-env", "TOKEN", "--tags", "a b,c", "--verbose", "--lang", "en" },
      env = { TOKEN = "hunter2" },
    }
    assert.equal(0, result.code, result.output)
    for _, request in ipairs(s:requests()) do
      assert.same({ "1", "2", "Bearer hunter2" },
        { request.headers["x-one"], request.headers["x-two"], request.headers.authorization })
    end
    assert.equal(3, s:count("^POST /api/v1/embedding/image%?image_id=%w&normalize=true&auto_index=true&tags=a%%20b%%2Cc$"))
    s:stop()
    assert.is_nil(result.output:find("hunter2", 1, true))
  end)
end)

describe("a file that vanishes in mid-run", function()
  after_each(harness.cleanup)

  it("is the backend's to judge: the API way opens no file", function()
    local storage = harness.tree { "a.jpg", "b.jpg", "c.jpg", "d.jpg" }
    local s = server.start(string.format([[return function(request, reply)
      os.remove(%q)
      if request.method == 'GET' then return reply.not_indexed() end
      if request.id == 'd' then return reply.json(404, '{"detail":"gone"}') end
      reply.embedding(request.id)
    end]], storage .. "/d.jpg"))
    local result = harness.run { args = { "--storage-path", storage, "--api-url", s.url, "--max-concurrent", "1" }, env = { LC_ALL = "C" } }
    s:stop()
    ends_with(result, 1, { Succeeded = 3, Failed = 1 })
    assert.equal("not_found", harness.records(result.cwd)[1][1].kind)
  end)
end)

describe("an answer that breaks off after k bytes, for every k (N9),", function()
  after_each(harness.cleanup)

  -- How a reader is to know a body's end. What lacks but the very last line feed behind the last chunk lacks nothing.
  local framings = {
    { "a length", function(body) return "Content-Length: " .. #body .. "\r\n\r\n" .. body end },
    { "chunks", function(body) return ("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r"):format(#body, body) end },
    { "the connection's end", function(body) return "\r\n" .. body end },
  }
  -- What is asked, by which method, the answer, what to do with the other requests, and the outcome.
  local questions = {
    { "an embed request", "POST", '{"status":"success","message":"ok","data":[{"index":0,"embedding":[0.6,0.8],"dimension":2}]}',
      "if request.method == 'GET' then return reply.not_indexed() end\n", "Succeeded" },
    { "a look-up", "GET", '{"status":"success","data":{"id":"an image","vector":[0.60,0.80],"metadata":{"some":"thing"}}}',
      "if not request.id then return reply.json(200, '{}') end\n", "Skipped" },
  }
  for _, question in ipairs(questions) do
    for _, framing in ipairs(framings) do
      it("and whose end " .. framing[1] .. " tells, is never taken for a whole one to " .. question[1], function()
        local whole = "HTTP/1.1 200 OK\r\n" .. framing[2](question[3])
        local names = {}
        for k = 0, #whole - 1 do names[#names + 1] = string.format("%03d.jpg", k) end
        local result = against(question[4] .. string.format([[local whole, body = %q, %q
          if request.seen > 1 then return reply.json(200, body) end
          reply.raw(whole:sub(1, tonumber(request.id)))
          reply.close()]], whole, question[3]),
          { "--max-concurrent", "20", "--retry-delay", "0.001" }, { names = names })
        ends_with(result, 0, { [question[5]] = #names, Failed = 0 })
        local asked = {}
        for _, request in ipairs(result.requests) do
          if request.method == question[2] and request.id then asked[request.id] = (asked[request.id] or 0) + 1 end
        end
        -- Each was asked for again, whatever k was.
        for _, name in ipairs(names) do assert.is_true(asked[name:match("^%d+")] >= 2, name) end
      end)
    end
  end
end)
