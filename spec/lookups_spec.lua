-- How it is found out what is indexed: by each image, by groups, by the list; and what happens when one of them fails.
require "spec.support.paths"
local harness = require "spec.support.harness"
local revec = require "revec"
local server = require "spec.support.server"

local BATCH, LIST, ONE, EMBED = "^GET /api/v1/vectors/batch/get", "^GET /api/v1/vectors/%?", "^GET /api/v1/vectors/[%x-]+$", "^POST "

local BROKEN_OFF = [[reply.raw('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"status":"success","data":[{"id":"7') reply.close()]]

local function uuid(n) return ("%08x-1234-4abc-8def-%012x"):format(n * 2654435761 % 2 ^ 32, n) end

-- A storage of n images with UUIDs for names, and those names.
local function storage_of(n)
  local names, ids = {}, {}
  for i = 1, n do
    ids[i] = uuid(i)
    names[i] = ("%02d/%s.jpg"):format(i % 20, ids[i])
  end
  return harness.tree(names), ids
end

-- Source of a handler's beginning that marks ids as indexed.
local function having(ids)
  return "state.indexed = state.indexed or (function() local t = {} for id in ([[" .. table.concat(ids, " ")
    .. "]]):gmatch('%S+') do t[id] = true end return t end)()\n"
end

describe("--check", function()
  local s
  after_each(function()
    s:stop()
    harness.cleanup()
  end)

  local function run(handler, storage, args)
    s = server.start("return function(request, reply)\n" .. handler .. "\nend", { dim = 3 })
    local all = { "--storage-path", storage, "--api-url", s.url, "--retry-delay", "0.01" }
    for _, argument in ipairs(args or {}) do all[#all + 1] = argument end
    local result = harness.run { args = all, env = { LC_ALL = "C" }, timeout = 60 }
    function result.number(name) return tonumber(result.stderr:match("INFO %- " .. name .. ": (%d+)\n")) end
    result.record = harness.records(result.cwd)[1]
    return result
  end

  local function counts(result)
    return { result.code, result.number("Total images"), result.number("Succeeded"), result.number("Failed"), result.number("Skipped") }
  end

  -- How often each image was embedded, at most.
  local function most_embeds()
    local most, times = 0, {}
    for _, request in ipairs(s:requests()) do
      if request.method == "POST" then
        times[request.id] = (times[request.id] or 0) + 1
        most = math.max(most, times[request.id])
      end
    end
    return most
  end

  local function half(ids)
    local some = {}
    for i = 1, #ids, 2 do some[#some + 1] = ids[i] end
    return some
  end

  -- All but each hundredth: embedding takes the server's time.
  local function most(ids)
    local some = {}
    for i, id in ipairs(ids) do
      if i % 100 > 0 then some[#some + 1] = id end
    end
    return some
  end

  it("each asks for one image at a time", function()
    local storage, ids = storage_of(30)
    assert.same({ 0, 30, 15, 0, 15 }, counts(run(having(half(ids)) .. "reply.correctly()", storage, { "--check", "each" })))
    assert.same({ 30, 0, 0, 15 }, { s:count(ONE), s:count(BATCH), s:count(LIST), s:count(EMBED) })
  end)

  it("batch asks for --batch-size images at a time, at most 100", function()
    local storage, ids = storage_of(250)
    local result = run(having(half(ids)) .. "reply.correctly()", storage, { "--check", "batch", "--batch-size", "1000" })
    assert.same({ 0, 250, 125, 0, 125 }, counts(result))
    assert.same({ 0, 0, 125 }, { s:count(ONE), s:count(LIST), s:count(EMBED) })
    assert.is_true(s:count(BATCH) >= 3 and s:count(BATCH) <= 6, s:count(BATCH)) -- smaller ones while the walk has no more yet
    for _, request in ipairs(s:requests()) do assert.is_true(#request.target < 9000, #request.target) end
  end)

  it("list reads the list first, 1,000 ids a page, and asks for nothing else", function()
    local storage, ids = storage_of(2500)
    local result = run(having(ids) .. "reply.correctly()", storage, { "--check", "list" })
    assert.same({ 0, 2500, 0, 0, 2500 }, counts(result))
    -- Each page but the first begins with the last id of the one before.
    assert.same({ 3, 3 }, { s:count(LIST), s:count("") })
  end)

  it("list embeds what is not in the list", function()
    local storage, ids = storage_of(40)
    assert.same({ 0, 40, 20, 0, 20 }, counts(run(having(half(ids)) .. "reply.correctly()", storage, { "--check", "list" })))
    assert.same({ 0, 0, 1, 20 }, { s:count(ONE), s:count(BATCH), s:count(LIST), s:count(EMBED) })
  end)

  for _, check in ipairs { "batch", "list" } do
    it(check .. " knows UUIDs in whatever form the files have them", function()
      local bare = uuid(1):gsub("-", "")
      local storage = harness.tree { bare .. ".jpg", uuid(2):upper() .. ".jpg", "17.jpg", "x.jpg",
                                     "{" .. uuid(3) .. "}.jpg" }
      local handler = having { uuid(1), uuid(2), uuid(3), "17" } .. [[
        if request.path:find("batch") then
          -- As Qdrant does: it takes UUIDs in any form and tells them in its own.
          for i, id in ipairs(request.query_all.ids) do
            if id == "x" then return reply.json(500, '{"detail":"x is not a valid point ID"}') end
            id = id:lower():gsub("[{}]", "")
            if #id == 32 then id = id:gsub("(%x%x%x%x%x%x%x%x)(%x%x%x%x)(%x%x%x%x)(%x%x%x%x)", "%1-%2-%3-%4-") end
            request.query_all.ids[i] = id
          end
        elseif request.id and #request.id >= 32 then
          return reply.vector()
        end
        reply.correctly()]]
      assert.same({ 0, 5, 1, 0, 4 }, counts(run(handler, storage, { "--check", check, "--batch-size", "3" })))
      assert.equal(1, s:count(EMBED))
    end)
  end

  it("auto asks in groups for few images, and never lists", function()
    local storage, ids = storage_of(300)
    assert.same({ 0, 300, 150, 0, 150 }, counts(run(having(half(ids)) .. "reply.correctly()", storage, { "--max-concurrent", "20" })))
    assert.same({ 0, 0, 150 }, { s:count(ONE), s:count(LIST), s:count(EMBED) })
    assert.is_true(s:count(BATCH) >= 30 and s:count(BATCH) < 40, s:count(BATCH))
  end)

  it("auto reads the list once many images are to come", function()
    local storage, ids = storage_of(5000)
    -- Slower than the walk, which is to be ahead.
    local result = run(having(ids) .. "reply.sleep(0.02) reply.correctly()", storage, { "--quiet" })
    assert.same({ 0, 5000, 0, 0, 5000 }, counts(result))
    assert.same({ 0, 6, 0 }, { s:count(ONE), s:count(LIST), s:count(EMBED) })
    assert.is_true(s:count(BATCH) >= 100 and s:count(BATCH) < 150, s:count(BATCH))
  end)

  it("auto goes on one by one where the backend knows no look-up of many", function()
    for _, answer in ipairs { "reply.not_indexed()", "reply.json(405, '{\"detail\":\"Method Not Allowed\"}')",
                              "reply.json(500, '{\"detail\":\"no\"}')", BROKEN_OFF, "reply.send(200, {}, '<html>')",
                              "reply.json(200, '{\"status\":\"success\",\"data\":null}')" } do
      local storage, ids = storage_of(60)
      local result = run("if request.path:find('batch') then " .. answer .. " return end\n" .. having(half(ids)) .. "reply.correctly()", storage)
      assert.same({ 0, 60, 30, 0, 30 }, counts(result), answer)
      assert.equal(1, most_embeds())
      s:stop()
    end
  end)

  it("a group that an odd id spoils is asked one by one, and such ids by themselves from then on", function()
    local names = {}
    for i = 1, 200 do names[i] = uuid(i) .. ".jpg" end
    names[5], names[150] = "holiday.jpg", "0007.jpg"
    local result = run([[
      for _, id in ipairs(request.query_all.ids or {}) do
        if #id < 36 then return reply.json(500, '{"detail":"not a valid point ID"}') end
      end
      reply.correctly()]], harness.tree(names), { "--max-concurrent", "1" })
    assert.same({ 0, 200, 200, 0, 0 }, counts(result))
    assert.is_true(s:count(BATCH) >= 18, s:count(BATCH))
    assert.equal(1, most_embeds())
  end)

  for name, page in pairs {
    ["answers 500"] = "reply.json(500, '{\"detail\":\"metadata\"}')",
    ["breaks off"] = BROKEN_OFF,
    ["goes round in circles"] = "request.query.offset = nil reply.correctly()",
    ["is no list"] = "reply.json(200, '{\"status\":\"success\",\"data\":{}}')",
    ["never ends"] = [[
      local records = {}
      for i = 1, 1000 do records[i] = '{"id":"' .. request.n .. "-" .. i .. '"}' end
      reply.json(200, '{"status":"success","data":[' .. table.concat(records, ",") .. "]}")]],
  } do
    it("list: when its second page " .. name .. ", auto goes on without, and nothing is embedded twice", function()
      local storage, ids = storage_of(3500)
      local handler = having(most(ids)) .. [[
        if request.path == "/api/v1/vectors/" and request.query.offset then
          ]] .. page .. [[
          return
        end
        reply.sleep(request.path:find("batch") and 0.02 or 0)
        reply.correctly()]]
      local result = run(handler, storage, { "--quiet", "--max-concurrent", "20", "--batch-size", "100", "--max-retries", "1" })
      assert.same({ 0, 3500, 35, 0, 3465 }, counts(result))
      assert.equal(1, most_embeds())
    end)
  end

  it("list: when it fails and was asked for by name, the run ends and says so", function()
    local storage = storage_of(5)
    local result = run("if request.path == '/api/v1/vectors/' then return reply.json(500, '{\"detail\":\"metadata\"}') end reply.correctly()",
      storage, { "--check", "list", "--max-retries", "1" })
    assert.same({ 3, 5, 0, 0, 0 }, counts(result))
    assert.equal(5, result.number("Pending"))
    assert.matches("the list of what is indexed: metadata", result.stderr)
    assert.same({ 2, 0 }, { s:count(LIST), s:count(EMBED) })
  end)

  it("a list that changes while it is read loses no image", function()
    local storage, ids = storage_of(2600)
    local handler = having(most(ids)) .. [[
      if request.path == "/api/v1/vectors/" and request.query.offset then
        for id in pairs(state.indexed) do state.indexed[id] = nil break end
        state.indexed["00000000-0000-0000-0000-000000000000"] = true
      end
      reply.correctly()]]
    local result = run(handler, storage, { "--check", "list", "--quiet", "--max-concurrent", "20" })
    assert.same({ 0, 2600 }, { result.code, result.number("Total images") })
    assert.equal(2600, result.number("Succeeded") + result.number("Skipped"))
    assert.is_true(result.number("Succeeded") >= 26)
  end)

  it("denied in a group: the run ends with 3, and nothing has failed", function()
    local storage = storage_of(50)
    local result = run("reply.json(401, '{\"detail\":\"who are you\"}')", storage)
    assert.same({ 3, 50, 0, 0, 0 }, counts(result))
    assert.matches("who are you", result.stderr)
  end)

  -- A job of the library's on a server with this handler.
  local function job(handler, storage, options)
    s = server.start("return function(request, reply)\n" .. handler .. "\nend", { dim = 3 })
    local all = { storage_path = storage, api_url = s.url, retry_delay = 0.01, failed_dir = harness.tempdir() }
    for name, value in pairs(options) do all[name] = value end
    return assert(revec.start(all))
  end

  local function finished(a_job)
    local deadline = os.time() + 20
    while a_job:step(1) do assert(os.time() < deadline, "the job hangs") end
    return a_job:report()
  end

  it("ends when stopped in mid-list while an image waits to be asked for again", function()
    local storage, ids = storage_of(3500)
    local a_job = job(having(ids) .. [[
      if request.path == "/api/v1/vectors/" then
        reply.sleep(2)
      elseif request.path:find("batch") then
        state.groups = (state.groups or 0) + 1
        if state.groups % 10 == 0 then return reply.json(500, "{}") end
      elseif request.method == "GET" then
        reply.sleep(0.3)
        if request.id:byte(-1) % 2 == 0 then return reply.json(400, '{"detail":"odd"}') end
      end
      reply.correctly()]], storage, { max_concurrent = 20, batch_size = 20, on_failure = function() return "retry" end })
    local deadline, stopped = os.time() + 20, false
    while a_job:step(0.05) do
      if a_job.pipeline.lookups.listing and a_job.pipeline.lookups:gathered("lookup") > 0 then
        stopped = true
        a_job:stop()
      end
      assert(os.time() < deadline, "the job hangs")
    end
    assert.is_true(stopped)
    local report = a_job:report()
    assert.equal(report.total, report.succeeded + report.failed + report.skipped + report.pending)
  end)

  it("a skip out of the list breaks no row of failures", function()
    local names, some = {}, {}
    for i = 1, 600 do
      local id = ("%08x-1234-4abc-8def-%012x"):format(i, i)
      names[i] = id .. ".jpg"
      if i % 2 == 0 then some[#some + 1] = id end
    end
    local storage = harness.tree(names)
    local function handler(status)
      return having(some) .. "if request.method == 'POST' then return reply.json(" .. status .. ", '{}') end reply.correctly()"
    end
    local options = { check = "list", max_retries = 0, max_concurrent = 1 }
    assert.equal("refused", finished(job(handler(500), storage, options)).reason)
    s:stop()
    assert.equal("denied", finished(job(handler(401), storage, options)).reason)
    assert.is_true(s:count(EMBED) <= 10, s:count(EMBED))
  end)

  it("no group's request is longer than 8 KB", function()
    local names = {}
    for i = 1, 40 do names[i] = ("图"):rep(82) .. ("%03d"):format(i) .. ".jpg" end
    assert.equal(40, finished(job("reply.correctly()", harness.tree(names), { check = "batch", batch_size = 100 })).succeeded)
    for _, request in ipairs(s:requests()) do assert.is_true(#request.target <= 8192, #request.target) end
  end)

  it("a list that a 200 refuses as throttled is tried again", function()
    local storage, ids = storage_of(20)
    local report = finished(job(having(ids) .. [[
      if request.path == "/api/v1/vectors/" and request.seen == 1 then
        return reply.json(200, '{"status":"error","message":"Throttling.RateQuota","data":null}')
      end
      reply.correctly()]], storage, { check = "list" }))
    assert.same({ "done", 20, 1 }, { report.reason, report.skipped, report.throttled })
  end)

  it("an odd id that the route rejects costs one group", function()
    local names = {}
    for i = 1, 200 do names[i] = uuid(i) .. ".jpg" end
    names[5] = "0000-odd.jpg"
    local report = finished(job([[
      for _, id in ipairs(request.query_all.ids or {}) do
        if #id < 36 then return reply.json(422, '{"detail":"no"}') end
      end
      reply.correctly()]], harness.tree(names), { check = "batch", max_concurrent = 1 }))
    assert.equal(200, report.succeeded)
    assert.is_true(s:count(BATCH) >= 18, s:count(BATCH))
  end)

  it("says what it falls back from, and why", function()
    local storage, ids = storage_of(4000)
    local result = run(having(most(ids)) .. [[
      if request.path == "/api/v1/vectors/" then
        state.listed = true
        return reply.json(500, '{"detail":"metadata"}')
      end
      if request.path:find("batch") and state.listed then return reply.not_indexed() end
      if request.path:find("batch") then reply.sleep(0.03) end
      reply.correctly()]], storage, { "--max-retries", "0", "--quiet", "--max-concurrent", "10" })
    assert.same({ 40, 3960 }, { result.number("Succeeded"), result.number("Skipped") })
    assert.matches("WARNING %- The index cannot be listed, asking in groups: metadata\n", result.stderr)
    assert.matches("WARNING %- The backend takes no look%-ups of many, asking one by one: not indexed: ", result.stderr)
  end)

  it("--verify looks up in groups what was embedded", function()
    local storage, ids = storage_of(95)
    local handler = [[
      if request.method == "POST" and request.id == "]] .. ids[7] .. [[" then return reply.embedding() end
      reply.correctly()]]
    local result = run(handler, storage, { "--verify" })
    assert.same({ 1, 95, 94, 1, 0 }, counts(result))
    assert.same({ ids[7], "not_indexed" }, { result.record[1].id, result.record[1].kind })
    assert.equal(2, s:count("^POST .*" .. ids[7]:gsub("%-", "%%-")))
    assert.is_true(s:count(ONE) <= 2 and s:count(BATCH) <= 22, s:count(BATCH))
  end)
end)
