-- Byte strings for URLs, for people and for terminals.

require("spec.support.paths")
local core = require("revec.core")
local internals = require("revec.internals")

local function all_bytes()
  local bytes = {}
  for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
  return table.concat(bytes)
end

local REPLACED = "\239\191\189" -- U+FFFD

describe("escape", function()
  it("leaves what RFC 3986 calls unreserved and encodes every other byte", function()
    for i = 0, 255 do
      local c = string.char(i)
      assert.equal(c:find("^[%w%-._~]$") and i < 128 and c or ("%%%02X"):format(i), core.escape(c))
    end
    assert.equal("a%2Fb%20c%00%C3%A9%25", core.escape("a/b c\0\195\169%"))
    assert.equal("", core.escape(""))
  end)

  it("can be undone", function()
    local bytes = all_bytes():rep(3)
    assert.equal(bytes, (core.escape(bytes):gsub("%%(%x%x)", function(h) return string.char(tonumber(h, 16)) end)))
  end)
end)

describe("base64", function()
  local pairs_of = {
    [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==", fooba = "Zm9vYmE=", foobar = "Zm9vYmFy",
    ["\0"] = "AA==", ["\255\255\255"] = "////", ["\251\239\190"] = "++++",
  }
  it("is that of RFC 4648", function()
    for text, encoded in pairs(pairs_of) do
      assert.equal(encoded, core.base64(text))
      assert.equal(text, core.unbase64(encoded))
    end
  end)

  it("brings back any bytes", function()
    local bytes = all_bytes()
    for length = 0, 260 do
      local text = bytes:rep(2):sub(-length - 1, -2)
      assert.equal(text, core.unbase64(core.base64(text)))
    end
  end)

  it("makes nothing of what is not base64", function()
    for _, text in ipairs { "Z", "Zg", "Zg=", "=", "==", "====", "Z===", "Zg==Zg==", "Zm9v\n", "Zm 9v===", "Zm9-", "Zm9_",
      "=m9v", "Z=9v", "Zm=v", "\0\0\0\0", "Zm8\0", "Zm9v Zm9v" } do
      assert.is_nil(core.unbase64(text), text)
    end
  end)
end)

local valid = { "", "a", "\0", "\127", "\194\128", "\223\191", "\224\160\128", "\237\159\191", "\238\128\128",
  "\239\191\191", "\240\144\128\128", "\244\143\191\191", "a\195\169\226\130\172\240\159\152\128z" }
local invalid = { "\128", "\191", "\192\128", "\193\191", "\194", "\194a", "\195\195\169", "\224\128\128", "\224\159\191",
  "\237\160\128", "\237\191\191", "\226\130", "\226\130a", "\240\128\128\128", "\240\143\191\191", "\244\144\128\128",
  "\245\128\128\128", "\248\136\128\128\128", "\254", "\255", "\240\159\152" }

describe("is_utf8", function()
  it("takes all of UTF-8 and nothing overlong, cut, halved or beyond", function()
    for _, text in ipairs(valid) do assert.is_true(core.is_utf8(text), ("%q"):format(text)) end
    for _, text in ipairs(invalid) do
      assert.is_false(core.is_utf8(text), ("%q"):format(text))
      assert.is_false(core.is_utf8("good" .. text), ("%q"):format(text))
      assert.is_false(core.is_utf8(text .. "good"), ("%q"):format(text))
      assert.equal(0, (internals.utf8(text:match("[\192-\255].*") or text)))
    end
  end)

  it("reads the right character", function()
    local characters = { ["A"] = 0x41, ["\195\169"] = 0xE9, ["\226\130\172"] = 0x20AC, ["\240\159\152\128"] = 0x1F600 }
    for text, code in pairs(characters) do assert.same({ #text, code }, { internals.utf8(text .. "x") }) end
  end)
end)

describe("clean", function()
  it("leaves text that is fit to be shown as it is", function()
    for _, text in ipairs { "", "plain ~", "\195\169\226\130\172\240\159\152\128", "a\194\160b" } do
      assert.equal(text, core.clean(text))
    end
  end)

  it("shows control characters in place of obeying them", function()
    local cases = {
      ["a\nb"] = "a\\nb", ["\t"] = "\\t", ["\r"] = "\\r", ["\0"] = "\\x00", ["\27[2J"] = "\\x1b[2J", ["\127"] = "\\x7f",
      ["\194\155x"] = "\\x9bx", ["\194\133"] = "\\x85", ["\226\128\168"] = "\\u2028", ["\226\128\169"] = "\\u2029",
    }
    for text, shown in pairs(cases) do assert.equal(shown, core.clean(text)) end
  end)

  it("puts a replacement for each byte that is no UTF-8", function()
    assert.equal("a" .. REPLACED .. "b", core.clean("a\255b"))
    assert.equal(REPLACED .. REPLACED, core.clean("\226\130"))
    assert.equal(REPLACED .. "\195\169", core.clean("\195\195\169"))
  end)

  it("gives valid UTF-8 without controls for any bytes", function()
    local bytes = all_bytes()
    for _, text in ipairs { bytes, bytes:reverse(), bytes:rep(20) } do
      assert.is_true(core.is_utf8(core.clean(text)))
      assert.is_nil(core.clean(text):find("%c"))
      assert.is_true(core.is_utf8(core.clean(text, true)))
    end
  end)

  it("keeps control characters when told to, for those who escape them themselves", function()
    assert.equal("a\n\27\0\226\128\168" .. REPLACED, core.clean("a\n\27\0\226\128\168\255", true))
  end)
end)

describe("fit", function()
  it("gives the longest beginning that fits, and its width", function()
    local cases = {
      { "hello", 10, "hello", 5 }, { "hello", 5, "hello", 5 }, { "hello", 4, "hell", 4 }, { "hello", 0, "", 0 },
      { "", 5, "", 0 }, { "", 0, "", 0 },
      { "\228\184\173\230\150\135", 4, "\228\184\173\230\150\135", 4 }, -- two wide characters
      { "\228\184\173\230\150\135", 3, "\228\184\173", 2 }, { "\228\184\173\230\150\135", 1, "", 0 },
      { "e\204\129x", 1, "e\204\129", 1 }, -- a combining accent stays with its letter
      { "e\204\129x", 2, "e\204\129x", 2 }, { "\240\159\152\128!", 2, "\240\159\152\128", 2 },
      { "\239\188\161b", 2, "\239\188\161", 2 }, -- a full-width A
      { "a\255b", 2, "a\255", 2 }, -- a stray byte is shown as one replacement
    }
    for _, case in ipairs(cases) do assert.same({ case[3], case[4] }, { core.fit(case[1], case[2]) }, case[1]) end
  end)

  it("measures all of it without a limit", function()
    assert.same({ "a\228\184\173", 3 }, { core.fit("a\228\184\173") })
    assert.same({ ("x"):rep(100000), 100000 }, { core.fit(("x"):rep(100000)) })
  end)

  it("wants a whole number of columns", function()
    for _, columns in ipairs { -1, 1.5, "4", {} } do
      local ok, why = pcall(core.fit, "x", columns)
      assert.is_false(ok)
      assert.is_truthy(why:find("columns: integer 0..", 1, true))
    end
  end)
end)

describe("width", function()
  it("is 0 for what combines, 2 for what is wide, 1 for the rest", function()
    local widths = {
      [0x41] = 1, [0xE9] = 1, [0x300] = 0, [0x36F] = 0, [0x200B] = 0, [0x200D] = 0, [0xFE0F] = 0, [0x20AC] = 1,
      [0x1100] = 2, [0x303F] = 1, [0x3042] = 2, [0x4E2D] = 2, [0xAC00] = 2, [0xFF21] = 2, [0xFF71] = 1, [0x1F600] = 2,
      [0x20000] = 2, [0x10FFFF] = 1,
    }
    for code, width in pairs(widths) do assert.equal(width, internals.width(code), ("U+%04X"):format(code)) end
  end)
end)
