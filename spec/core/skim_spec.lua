-- What is picked out of an answer while it arrives, and what counts as a whole answer.

require("spec.support.paths")
local internals = require("revec.internals")

-- Skims in pieces of every size, from one byte to all at once, and expects the same each time.
local function skim(document, wanted, list, field)
  local values, complete, broken, truncated, items = internals.skim(document, #document + 1, wanted, list, field)
  for step = 1, math.min(#document, 40) do
    local v, c, b, t, i = internals.skim(document, step, wanted, list, field)
    assert.same({ values, complete, broken, truncated, items or "none" }, { v, c, b, t, i or "none" }, "in pieces of " .. step)
  end
  return values, complete, broken, truncated, items
end

local function deep(open, close, depth)
  return open:rep(depth) .. close:rep(depth)
end

local long_key, longest_key = ("k"):rep(64), ("k"):rep(63)
local vector = "[" .. ("0.0123456789,"):rep(300) .. "1]"

describe("skim", function()
  local found = {
    { "a string", '{"a":"x"}', { a = '"x"' } },
    { "an empty string", '{"a":""}', { a = '""' } },
    { "a number", '{"a":-12.5e+3}', { a = "-12.5e+3" } },
    { "a number at the end of a line", '{"a":1\n}', { a = "1" } },
    { "a number longer than any computer's", '{"a":' .. ("9"):rep(400) .. "}", { a = ("9"):rep(400) } },
    { "true, false and null", '{"a":true,"b":false,"c":null}', { a = "true", b = "false", c = "null" } },
    { "an object", '{"a":{"b":1,"c":[{}]}}', { a = '{"b":1,"c":[{}]}' } },
    { "an array", '{"a":[1,[2,"]"]]}', { a = '[1,[2,"]"]]' } },
    { "brackets inside nested strings", [[{"a":{"b":"}]\"}"},"c":1}]], { a = [[{"b":"}]\"}"}]], c = "1" } },
    { "escaped quotes", [[{"a":"x\"y","b":1}]], { a = [["x\"y"]], b = "1" } },
    { "a backslash before the closing quote", [[{"a":"x\\","b":1}]], { a = [["x\\"]], b = "1" } },
    { "white space everywhere", ' \r\n\t{ "a" : 1 , "b" :\n[ 2 ]\t} \n', { a = "1", b = "[ 2 ]" } },
    { "the last of many fields", '{"x":1,"y":[2],"z":"3","a":4}', { a = "4" } },
    { "fields in another order", '{"b":2,"a":1}', { a = "1", b = "2" } },
    { "nothing nested under the same name", '{"x":{"a":1},"b":2}', { b = "2" } },
    { "the first of two of the same name", '{"a":1,"a":2,"b":3}', { a = "1", b = "3" } },
    { "not a value that equals a name", '{"x":"a","b":"a"}', { b = '"a"' } },
    { "not a name that only begins alike", '{"ab":1,"":2,"a":3}', { a = "3" } },
    { "a name of 63 bytes", '{"' .. longest_key .. '":1}', { [longest_key] = "1" } },
    { "any bytes in a string", '{"a":"\1\255\0\127"}', { a = '"\1\255\0\127"' } },
    { "nothing in an empty object", "{}", {} },
    { "nothing in an object of strangers", '{"x":1,"y":2}', {} },
  }
  for _, case in ipairs(found) do
    it("finds " .. case[1], function()
      local values, complete, broken, truncated = skim(case[2], { "a", "b", "c", longest_key })
      assert.same({ case[3], true, false, {} }, { values, complete, broken, truncated })
    end)
  end

  it("finds eight fields at once", function()
    local names, text, expected = {}, {}, {}
    for i = 1, 8 do
      names[i] = "field" .. i
      text[i] = ('"x%d":0,"field%d":%d'):format(i, 9 - i, i)
      expected["field" .. 9 - i] = tostring(i)
    end
    local values, complete = skim("{" .. table.concat(text, ",") .. "}", names)
    assert.same({ expected, true }, { values, complete })
  end)

  it("does not mistake a name for a longer one that it begins", function()
    local values, complete = skim('{"' .. long_key .. '":1,"' .. long_key .. 'x":2}', { longest_key })
    assert.same({ {}, true }, { values, complete })
  end)

  it("reads over names with escapes, and takes none of them for another", function()
    local values, complete = skim([[{"a\"":1,"\"a":2,"\\":3,"a\\":4,"a":5}]], { "a" })
    assert.same({ { a = "5" }, true }, { values, complete })
  end)

  it("looks at nothing behind the last wanted field but the last byte", function()
    for _, rest in ipairs { vector, "this is not JSON", '"', "{{{{", "]]]]" } do
      local values, complete, broken = skim('{"a":1,"b":"x","c":' .. rest .. "}", { "a", "b" })
      assert.same({ { a = "1", b = '"x"' }, true, false }, { values, complete, broken })
    end
    assert.is_false((select(2, skim('{"a":1,"v":' .. vector, { "a" }))))
  end)

  it("wants nothing at all when no field is named", function()
    for document, complete in pairs { ["{}"] = true, ["{x}\n"] = true, ["{"] = false, ["[]"] = false, [""] = false } do
      assert.equal(complete, (select(2, skim(document, {}))), document)
    end
  end)

  it("keeps the first 4096 bytes of a longer value and says that it did", function()
    for _, length in ipairs { 4095, 4096, 4097, 100000 } do
      local raw = '"' .. ("x"):rep(length - 2) .. '"'
      local values, complete, broken, truncated = internals.skim('{"a":' .. raw .. ',"b":2}', 1000, { "a", "b" })
      assert.equal(raw:sub(1, 4096), values.a)
      assert.equal("2", values.b)
      assert.same({ true, false, { a = length > 4096 or nil } }, { complete, broken, truncated })
    end
  end)

  it("reads over a nesting of ten thousand levels", function()
    for _, nested in ipairs { deep("[", "]", 10000), deep('{"a":[', "]}", 10000) } do
      for _, step in ipairs { 1, 7, 4096, 1e6 } do
        local values, complete = internals.skim('{"x":' .. nested .. ',"a":1}', step, { "a" })
        assert.same({ { a = "1" }, true }, { values, complete })
      end
    end
  end)

  it("never takes a document that was cut anywhere for a whole one", function()
    local documents = {
      { '{"status":"success","message":"ok","data":[{"index":0,"embedding":[1,2.5],"dimension":2}]}',
        { "status", "message", "image_id" } },
      { '{"status":"success","id":"x","vector":[0.25,-1,3e-5]}\n', { "status", "id" } },
      { '{"total":12}', { "total" } },
      { '{"detail":"a \\" } b"}', { "status", "detail" } },
      { ' {"a" : {"b" : {"c" : []} } , "d" : null } ', { "a", "d", "e" } },
      { "{ }", { "a" } },
    }
    for _, case in ipairs(documents) do
      local document, wanted = case[1], case[2]
      local whole = document:find("}%s*$")
      for cut = 0, #document do
        assert.equal(cut >= whole, (select(2, skim(document:sub(1, cut), wanted))), document:sub(1, cut))
      end
    end
  end)

  it("does not take the end of a wanted object for the end of the document", function()
    local document = '{"a":{"b":1}}'
    for cut = 0, #document - 1 do
      assert.is_false((select(2, skim(document:sub(1, cut), { "a" }))), document:sub(1, cut))
    end
    assert.is_true((select(2, skim(document, { "a" }))))
  end)

  local invalid = {
    ["an array"] = "[1]", ["a string"] = '"x"', ["a number"] = "7", ["null"] = "null", ["HTML"] = "<html>{}</html>",
    ["text"] = "Bad Gateway", ["a byte order mark"] = '\239\187\191{"a":1}', ["a NUL"] = '\0{"a":1}',
    ["UTF-16"] = '\255\254{\0}\0', ["an object without a name"] = "{1:2}", ["single quotes"] = "{'a':1}",
    ["a missing colon"] = '{"a" 1}', ["a missing value"] = '{"a":}', ["a missing comma"] = '{"a":1 "b":2}',
    ["a comma too many"] = '{"a":1,}', ["a leading comma"] = '{,"a":1}', ["a comma in place of a value"] = '{"x":,"a":1}',
    ["an unquoted value"] = '{"x":yes,"a":1}', ["a comment"] = '{/* */"a":1}', ["text behind the end"] = '{"x":1} {}',
    ["a closing bracket too many"] = '{"x":1}}',
  }
  for name, document in pairs(invalid) do
    it("calls " .. name .. " broken", function()
      local _, complete, broken = skim(document, { "a", "b" })
      assert.same({ false, true }, { complete, broken })
    end)
  end

  local lists = {
    { "no elements", "[]", {} },
    { "white space", " [ \n] ", {} },
    { "one", '[{"id":"a"}]', { "a" } },
    { "the field behind a vector", '[{"vector":' .. vector .. ',"id":"a"},{"id":"b","vector":' .. vector .. "}]", { "a", "b" } },
    { "white space everywhere", '[ { "id" : "a" } , {"x":{},"id":"b"\t}\n]', { "a", "b" } },
    { "numbers", '[{"id":7},{"id":18446744073709551615}]', { "7", "18446744073709551615" } },
    { "escapes", [==[[{"id":"\u0041\"}]"},{"id":""}]]==], { 'A"}]', "" } },
    { "a NUL", [==[[{"id":"a\u0000b"}]]==], { "a\0b" } },
    { "the first of two of a name", '[{"id":"a","id":"b"}]', { "a" } },
    { "nothing nested under the same name", '[{"x":{"id":"c"},"id":"a","y":[{"id":"d"}]}]', { "a" } },
    { "a thousand", "[" .. ('{"id":"0123456789"},'):rep(999) .. '{"id":"0123456789"}]', {} },
  }
  for i = 1, 1000 do lists[#lists][3][i] = "0123456789" end
  for _, case in ipairs(lists) do
    it("keeps a field of each object of a list: " .. case[1], function()
      for _, document in ipairs { '{"status":"success","data":%s,"total":3}', '{"data":%s,"total":3,"status":"success"}' } do
        document = document:gsub("%%s", function() return case[2] end)
        local values, complete, broken, _, items = skim(document, { "status" }, "data", "id")
        assert.same({ { status = '"success"' }, true, false, case[3] }, { values, complete, broken, items })
        for cut = 0, #document - 1, math.ceil(#document / 200) do
          assert.is_false((select(2, internals.skim(document:sub(1, cut), 4096, { "status" }, "data", "id"))))
        end
      end
    end)
  end

  it("tells a list that is not there from an empty one", function()
    for _, rest in ipairs { "", ',"data":null', ',"data":{}', ',"data":"x"', ',"data":{"data":[]}' } do
      local _, complete, broken, _, items = skim('{"status":"success","total":0' .. rest .. "}", { "status" }, "data", "id")
      assert.same({ true, false, nil }, { complete, broken, items })
    end
  end)

  for name, list in pairs {
    ["numbers in it"] = "[1]", ["a list in it"] = '[[{"id":"a"}]]',
    ["an element without the field"] = '[{"id":"a"},{"x":"b"}]', ["an empty element"] = "[{}]", ["no comma"] = '[{"id":1}{"id":2}]',
    ["a comma too many"] = '[{"id":1},]', ["a leading comma"] = '[,{"id":1}]', ["the wrong bracket"] = '[{"id":1}}',
    ["an object for the field"] = '[{"id":{}}]', ["a field of 5,000 bytes"] = '[{"id":"' .. ("x"):rep(5000) .. '"}]',
  } do
    it("calls a list broken that is or has " .. name, function()
      local _, complete, broken = internals.skim('{"data":' .. list .. ',"status":"success"}', 7, { "status" }, "data", "id")
      assert.same({ false, true }, { complete, broken })
    end)
  end

  it("calls what has not come yet neither broken nor complete", function()
    for _, document in ipairs { "", " ", "{", '{"', '{"a"', '{"a":', '{"a":"', '{"a":[', '{"a":tr' } do
      local _, complete, broken = skim(document, { "a" })
      assert.same({ false, false }, { complete, broken }, document)
    end
  end)
end)

describe("unquote", function()
  local cases = {
    { [["plain"]], "plain" }, { [[""]], "" }, { [["\"\\\/"]], [["\/]] }, { [["\b\f\n\r\t"]], "\b\f\n\r\t" },
    { [["\u0041\u00e9\u20AC"]], "A\195\169\226\130\172" }, { [["\u0000"]], "\0" }, { [["\ud83d\ude00"]], "\240\159\152\128" },
    { [["\uD800"]], "\239\191\189" }, { [["\udc00x"]], "\239\191\189x" }, { [["\ud800\u0041"]], "\239\191\189A" },
    { [["\ud800\ud800\udc00"]], "\239\191\189\240\144\128\128" }, { '"\195\169\255"', "\195\169\255" },
    { "12" }, { "" }, { '"' }, { '"x' }, { 'x"' }, { "{}" }, { [["\"]] }, { [["\x"]] }, { [["\u12"]] }, { [["\u123g"]] },
    { [["\u-001"]] }, { '"\\\0"' }, { [["\ud800\u12"]] },
  }
  for _, case in ipairs(cases) do
    it(("makes %s of %s"):format(case[2] and ("%q"):format(case[2]) or "nothing", case[1]), function()
      assert.equal(case[2], internals.unquote(case[1]))
    end)
  end
end)
