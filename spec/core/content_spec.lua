-- What a request sends, and the vectors of its answer.

require("spec.support.paths")
local core = require("revec.core")
local census = require("spec.support.census")
local engines = require("spec.support.engines")
local harness = require("spec.support.harness")
local server = require("spec.support.server")
local socket = require("socket")

local s, dir, before

setup(function()
  assert(core.engine { probe_url = "http://127.0.0.1:1/" }):close()
  dir = harness.tempdir()
  -- Answers with what it got; /answer/… with the file of that name; /dies once, after having read the request.
  s = server.start(([[
    local crypto = { hash = function(text)
      local h = 5381
      for i = 1, #text do h = (h * 33 + text:byte(i)) %% 4294967296 end
      return h
    end }
    return function(request, reply)
      if request.path:find("^/answer/") then
        local file = assert(io.open(%q .. request.path:sub(8), "rb"))
        local text = file:read("*a")
        file:close()
        return reply.json(200, text)
      end
      local body = request.body
      if request.path == "/length" then return reply.json(200, '{"length":"' .. #body .. '"}') end
      if request.path == "/dies" and request.seen == 2 then return reply.reset() end
      reply.json(200, '{"length":"' .. #body .. '","hash":"' .. crypto.hash(body) .. '","said":"' .. (request.headers["content-length"] or "") .. '"}')
    end
  ]]):format(dir))
end)

teardown(function()
  server.stop_all()
  harness.cleanup()
end)

before_each(function() before = census.take() end)

after_each(function()
  engines.close_all()
  assert.same(before, census.take(before))
end)

local function hash(text)
  local h = 5381
  for i = 1, #text do h = (h * 33 + text:byte(i)) % 4294967296 end
  return string.format("%.0f", h)
end

local function file(name, text)
  harness.write(dir .. "/" .. name, text)
  return dir .. "/" .. name
end

local random_bytes = {}
for i = 1, 70001 do random_bytes[i] = string.char((i * 7919 + math.floor(i / 251)) % 256) end
random_bytes = table.concat(random_bytes)

describe("a body", function()
  local function send(parts, path, options)
    local engine = engines.new(s, options)
    local route = engine:route { method = "POST", fields = { "length", "hash", "said" } }
    engine:submit(route, s.url .. (path or "/echo"), "item", false, nil, nil, parts)
    return engines.collect(engine, 1)[1]
  end

  local function arrives(expected, parts)
    local event = send(parts)
    assert.is_nil(event.kind, event.message)
    assert.same({ length = tostring(#expected), hash = hash(expected), said = tostring(#expected) }, event.fields)
  end

  it("is its texts, vectors and files, one behind another", function()
    local path = file("bytes", random_bytes)
    arrives("abc", { "a", "", "bc" })
    arrives("\0\255", { "\0\255" })
    arrives('{"v":[1, 2.5],"w":[1, 2.5]}', (function()
      local v = core.vector("[1, 2.5]")
      return { '{"v":', v, ',"w":', v, "}" }
    end)())
    arrives("<" .. random_bytes .. ">" .. random_bytes, { "<", { file = path }, ">", { file = path } })
    arrives("", {})
    arrives("", { "" })
  end)

  it("has files as base64 where that is asked for, of every length", function()
    for _, n in ipairs { 1, 2, 3, 4, 5, 6, 3 * 4096 - 1, 3 * 4096, 3 * 4096 + 1, 70000, 70001 } do
      local bytes = random_bytes:sub(1, n)
      arrives('{"image":"' .. core.base64(bytes) .. '"}', { '{"image":"', { file = file("some", bytes), base64 = true }, '"}' })
    end
  end)

  it("is sent once more, whole, when libcurl's kept connection was dead", function()
    local path = file("bytes", random_bytes)
    local engine = engines.new(s)
    local route = engine:route { method = "POST", fields = { "length", "hash", "said" } }
    for i = 1, 3 do
      engine:submit(route, s.url .. "/dies", i, false, nil, nil, { { file = path } })
      local event = engines.collect(engine, 1)[1]
      assert.is_nil(event.kind)
      assert.same({ tostring(#random_bytes), hash(random_bytes) }, { event.fields.length, event.fields.hash })
    end
  end)

  it("fails as unreadable_file, before anything is sent, when a file cannot be read", function()
    for path, why in pairs { [dir .. "/gone"] = "No such file or directory", [dir] = "not a file", [file("empty", "")] = "empty" } do
      local event = send({ "a", { file = path } })
      assert.same({ "unreadable_file", path .. ": " .. why, 0 }, { event.kind, event.message, event.sends })
    end
  end)

  -- What becomes of the file once the server has the beginning of it, and the outcome: a clear failure, or a whole file.
  local CHANGED = "changed while it was sent"
  local changes = {
    { "shrinks", function(path) harness.write(path, ("b"):rep(1000)) end, CHANGED },
    { "is emptied", function(path) harness.write(path, "") end, CHANGED },
    { "grows", function(path)
      local handle = io.open(path, "ab")
      handle:write(("b"):rep(1000))
      handle:close()
    end, CHANGED },
    { "is written anew", function(path, size) harness.write(path, ("b"):rep(size)) end, CHANGED },
    { "is replaced by another", function(path, size)
      harness.write(path .. ".new", ("b"):rep(2 * size))
      os.rename(path .. ".new", path)
    end },
    { "is removed", os.remove },
    { "is left alone", function() end },
  }
  for _, change in ipairs(changes) do
    for _, base64 in ipairs { false, true } do
      it("of a file that " .. change[1] .. " meanwhile (F2, F3) is " .. (change[3] and "none" or "whole") .. (base64 and ", as base64" or ""), function()
        local size = 3 * 2 ^ 22 -- more than the kernel takes in advance
        local path, gate = file("changing", ("a"):rep(size)), dir .. "/gate"
        local slow = server.start(([[return function(request, reply)
          while not io.open(%q) do reply.sleep(0.005) end
          local body = reply.body()
          reply.json(200, '{"length":"' .. #(body or "") .. '","other":"' .. tostring(body and body:find("[^%s]")) .. '"}')
        end]]):format(gate, base64 and "YWFh" or "a"), { early_answer = true })
        local engine = engines.new(slow)
        local route = engine:route { method = "POST", fields = { "length", "other" } }
        engine:submit(route, slow.url, "item", false, nil, nil, { { file = path, base64 = base64 } })
        while slow:count() == 0 do socket.sleep(0.005) end
        change[2](path, size)
        harness.write(gate, "")
        local event = engines.collect(engine, 1)[1]
        if change[3] then
          assert.same({ "unreadable_file", path .. ": " .. change[3] }, { event.kind, event.message })
        else
          assert.is_nil(event.kind, event.message)
          assert.same({ length = ("%d"):format(base64 and size / 3 * 4 or size), other = "nil" }, event.fields)
        end
        slow:stop()
        os.remove(gate)
        os.remove(path)
      end)
    end
  end

  it("and requests without one take turns on a connection", function()
    local engine = engines.new(s, { max_concurrent = 1 })
    local route = engine:route { method = "POST", fields = { "length" } }
    for i, parts in ipairs { { "abc" }, false, { "de" }, { { file = dir .. "/gone" } }, false } do
      engine:submit(route, s.url .. "/echo", i, false, nil, nil, parts or nil)
    end
    local got = {}
    for i, event in ipairs(engines.collect(engine, 5)) do got[i] = event.kind or event.fields.length end
    table.sort(got)
    assert.same({ "0", "0", "2", "3", "unreadable_file" }, got)
  end)

  it("leaves nothing behind for requests of another method on its connection", function()
    local engine = engines.new(s, { max_concurrent = 1 })
    local post, get, put = engine:route { method = "POST" }, engine:route {}, engine:route { method = "PUT" }
    for _, route in ipairs { post, get, put, get, post } do
      engine:submit(route, s.url .. "/turns", "item", false, nil, nil, route ~= get and { "abc" } or nil)
      engines.collect(engine, 1)
    end
    local methods = {}
    for _, request in ipairs(s:requests()) do
      if request.target == "/turns" then methods[#methods + 1] = request.method .. " " .. (request.body_bytes or 0) end
    end
    assert.same({ "POST 3", "GET 0", "PUT 3", "GET 0", "POST 3" }, methods)
  end)

  it("keeps a vector that is released once it is submitted", function()
    local engine = engines.new(s)
    local route = engine:route { method = "POST", fields = { "length" } }
    local vector = core.vector("[1,2,3]")
    engine:submit(route, s.url .. "/length", "item", false, nil, nil, { vector })
    vector:release()
    vector:release()
    assert.equal("7", engines.collect(engine, 1)[1].fields.length)
    for _, use in ipairs { "json", "dimension" } do assert.has_error(function() vector[use](vector) end, "vector: released") end
    assert.has_error(function() engine:submit(route, s.url, "item", false, nil, nil, { vector }) end)
  end)

  it("is refused when it is none", function()
    local engine = engines.new(s)
    local route = engine:route { method = "POST" }
    for _, bad in ipairs { 7, "text", { 7 }, { true }, { {} }, { { file = 1 } }, { { file = "a\0b" } }, { io.stdout } } do
      assert.has_error(function() engine:submit(route, s.url, "item", false, nil, nil, bad) end)
    end
    assert.equal(0, engine:stats().active)
  end)

  it("of 4 files of 20 MB at once costs no memory to speak of", function()
    local path = file("large", ("0123456789abcdef"):rep(65536):rep(20))
    local function peak()
      return tonumber(harness.read("/proc/self/status"):match("VmHWM:%s*(%d+)"))
    end
    local engine = engines.new(s, { max_concurrent = 4 })
    local route = engine:route { method = "POST", fields = { "length" } }
    collectgarbage()
    harness.write("/proc/self/clear_refs", "5")
    local held = peak()
    for i = 1, 4 do engine:submit(route, s.url .. "/length", i, false, nil, nil, { { file = path, base64 = true } }) end
    for _, event in ipairs(engines.collect(engine, 4)) do
      assert.equal(string.format("%d", math.ceil(20 * 2 ^ 20 / 3) * 4), event.fields.length)
    end
    assert.is_true(peak() - held < 4 * 1024, peak() - held)
    os.remove(path)
  end)
end)

describe("vectors", function()
  local function ask(text, options)
    file("document", text)
    local engine = engines.new(s)
    options.json = true
    return engines.ask(engine, engine:route(options), s.url .. "/answer/document")
  end

  local function texts(event)
    local list = {}
    for i, v in ipairs(event.vectors or {}) do list[i] = v and v:json() or false end
    return list
  end

  local found = {
    { "embedding", '{"embedding":[1,2]}', { "[1,2]" } },
    { "data[].embedding", '{"object":"list","data":[{"index":0,"embedding":[1, -2e-3]},{"embedding":[3]}],"model":"x"}', { "[1, -2e-3]", "[3]" } },
    { "embeddings.float[]", '{"id":"x","embeddings":{"int8":[[1]],"float":[[0.5],[0.25]]}}', { "[0.5]", "[0.25]" } },
    { "output.embeddings[].embedding", '{"output":{"embeddings":[{"embedding":[7],"type":"image"}]},"usage":{}}', { "[7]" } },
    { "data[].embedding", ' { "a\\"]}" : [ { } , "]" ] , "data" : [ { "x" : "}" , "embedding" : [ 1 ] } ] } ', { "[ 1 ]" } },
  }
  for _, case in ipairs(found) do
    it("are found at " .. case[1] .. " in " .. case[2], function()
      local event = ask(case[2], { vectors = case[1] })
      assert.is_nil(event.kind, event.message)
      assert.same(case[3], texts(event))
    end)
  end

  it("are put in the order that their indexes say", function()
    local event = ask('{"data":[{"index":2,"v":[3]},{"index":0,"v":[1]},{"v":[2],"index":1}]}', { vectors = "data[].v", vector_index = "data[].index" })
    assert.same({ "[1]", "[2]", "[3]" }, texts(event))
  end)

  for _, data in ipairs { '[{"v":[1]}]', '[{"index":0,"v":[1]},{"index":0,"v":[2]}]', '[{"index":1,"v":[1]}]', '[{"index":-1,"v":[1]}]',
                          '[{"index":"0","v":[1]}]', '[{"index":0,"v":[1]},{"index":1}]', '[{"index":99999999999,"v":[1]}]' } do
    it("are bad when their indexes are no order: " .. data, function()
      local event = ask('{"data":' .. data .. "}", { vectors = "data[].v", vector_index = "data[].index" })
      assert.same({ "bad_answer", "the answer's indexes are no order of its vectors" }, { event.kind, event.message })
    end)
  end

  it("that are wrong are false, the others there, and the first's fault is told", function()
    local event = ask('{"data":[{"v":[1]},{"v":[0,0.0,-0e5]},{"v":[]}]}', { vectors = "data[].v" })
    assert.same({ "[1]", false, false }, texts(event))
    assert.equal("the vector is all zeros", event.vector_error)
  end)

  it("in an order need a path", function()
    assert.has_error(function() engines.new(s):route { vector_index = "data[].index" } end, "vector_index: needs vectors")
  end)

  it("that are missing make a bad answer", function()
    for _, text in ipairs { "{}", '{"data":[]}', '{"data":null}', '{"data":{"v":[1]}}', '{"data":[{"w":[1]}]}' } do
      local event = ask(text, { vectors = "data[].v" })
      assert.same({ "bad_answer", "no vector in the answer" }, { event.kind, event.message })
    end
    -- Half a pair of brackets is no path.
    for _, path in ipairs { "[", "data[", "data[x].v" } do
      local event = ask('{"data":[[1],{"v":[1]}]}', { vectors = path })
      assert.same({ "bad_answer", "no vector in the answer" }, { event.kind, event.message }, path)
    end
  end)

  local wrong = {
    ["no vector"] = { "", "7", "{}", '"x"', "null", "]" },
    ["the vector is empty"] = { "[]", "[ ]" },
    ["not all of the vector are numbers"] = { "[1,]", "[,1]", "[1 2]", "[1", "[NaN]", "[1,null]", '["1"]', "[[1]]", "[+1]", "[.5]", "[1.]",
                                              "[1e]", "[-]", "[0x1]", "[1] 2", "[Infinity]", "[" .. ("9"):rep(31) .. "]" },
    ["a number of the vector is too large"] = { "[1e39]", "[1E+300]" },
    ["the vector is all zeros"] = { "[0]", "[0,-0,0.000,0e9]" },
  }
  for why, list in pairs(wrong) do
    it("are refused: " .. why, function()
      for _, text in ipairs(list) do assert.same({ nil, why }, { core.vector(text) }, text) end
    end)
  end

  it("are made of JSON or of numbers, and tell their dimension", function()
    assert.equal(3, core.vector("[1, -2.5 ,3e-7]"):dimension())
    assert.equal("[1,-2.5,1e-07]", core.vector({ 1, -2.5, 1e-7 }):json())
    assert.same({ nil, "the vector is empty" }, { core.vector({}) })
    for _, bad in ipairs { { "1" }, { 1, {} }, { 0 / 0 }, { 1 / 0 } } do assert.has_error(function() core.vector(bad) end) end
    assert.has_error(function() core.vector() end)
    assert.equal("revec.vector", getmetatable(core.vector("[1]")))
  end)

  it("of any length are no trouble", function()
    local text = "[" .. ("0.0123456789,"):rep(100000) .. "1]"
    assert.equal(100001, core.vector(text):dimension())
    assert.is_true(text == texts(ask('{"v":' .. text .. "}", { vectors = "v", max_bytes = 2 ^ 22 }))[1])
  end)
end)

it("a whole answer is kept where that is asked for", function()
  file("document", '{"ids":["a","b"]}')
  local engine = engines.new(s)
  assert.equal('{"ids":["a","b"]}', engines.ask(engine, engine:route { whole = true, json = true }, s.url .. "/answer/document").body)
  assert.is_nil(engines.ask(engine, engine:route { json = true }, s.url .. "/answer/document").body)
end)
