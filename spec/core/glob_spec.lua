-- Patterns for include and exclude, beside a slow matcher that tries everything.

require("spec.support.paths")
local core = require("revec.core")
local internals = require("revec.internals")

local function matches(pattern, path, folder) return internals.glob(pattern, path, folder or false) end

describe("glob", function()
  local cases = {
    -- pattern, what it matches, what it does not
    { "*.jpg", { "a.jpg", "x/y/a.jpg", ".jpg", ".a.jpg" }, { "a.jpg.txt", "a.JPG", "ajpg" } },
    { "a?.jpg", { "ab.jpg", "a\195\169.jpg", "a\255.jpg" }, { "a.jpg", "abc.jpg", "a\195\169\195\169.jpg" } },
    { "[a-c]x", { "ax", "cx" }, { "dx", "-x", "x" } },
    { "[!a-c]x", { "dx", "\255x" }, { "ax", "x" } },
    { "[^a]x", { "bx" }, { "ax" } },
    { "[]x]", { "]", "x" }, { "a" } },
    { "[a-]", { "a", "-" }, { "b" } },
    { "[\195\160-\195\190]", { "\195\169" }, { "e", "\195\191" } },
    { "\\*", { "*" }, { "a" } },
    { "[\\]]", { "]" }, { "\\" } },
    { "a\nb*", { "a\nb.jpg" }, { "a b.jpg" } },
    { "a/*.jpg", { "a/b.jpg" }, { "x/a/b.jpg", "a/b/c.jpg", "b.jpg" } },
    { "/a.jpg", { "a.jpg" }, { "x/a.jpg" } },
    { "a/**", { "a/b", "a/b/c" }, { "a", "b/a/c" } },
    { "**/a", { "a", "x/a", "x/y/a" }, { "xa", "a/x" } },
    { "a/**/b", { "a/b", "a/x/b", "a/x/y/b" }, { "ab", "a/xb", "a/b/c" } },
    { "a/**/b/*/c", { "a/b/x/b/y/c", "a/b/b/c" }, { "a/b/c" } },
    { "a**b", { "axb", "x/axxb" }, { "a/b" } },
    { "**", { "a", "x/y" }, {} },
    { "x/[!a]/y", { "x/b/y" }, { "x///y", "x/a/y" } },
  }
  for _, case in ipairs(cases) do
    it(("knows what %q matches"):format(case[1]), function()
      assert.is_nil(core.glob_error(case[1]))
      for _, path in ipairs(case[2]) do assert.is_true(matches(case[1], path), path) end
      for _, path in ipairs(case[3]) do assert.is_false(matches(case[1], path), path) end
    end)
  end

  it("takes a slash at the end for folders only", function()
    for _, pattern in ipairs { "cache/", "/cache/", "c*/", "**/cache/", "*/" } do
      assert.is_true(matches(pattern, "cache", true), pattern)
      assert.is_false(matches(pattern, "cache"), pattern)
    end
    assert.is_true(matches("cache/", "a/b/cache", true))
    assert.is_false(matches("/cache/", "a/cache", true))
  end)

  it("says why something is no pattern", function()
    local bad = {
      [""] = "no name in it", ["/"] = "no name in it", ["a\\"] = "a backslash at its end", ["["] = "a [ without its ]",
      ["a[]"] = "a [ without its ]", ["[!]"] = "a [ without its ]", ["x[a-"] = "a [ without its ]", ["[a\\]"] = "a [ without its ]",
      ["[[:alpha:]]"] = "classes such as [:alpha:] are not known",
    }
    for pattern, why in pairs(bad) do assert.equal(why, core.glob_error(pattern)) end
  end)

  it("is not slow for any pattern", function()
    local text = ("a"):rep(3000)
    assert.is_false(matches(("*a"):rep(40) .. "b", text))
    assert.is_false(matches(("**/a*"):rep(20) .. "/b", ("aa/"):rep(1000) .. "a"))
  end)

  -- Both as lists of characters; tries every length of every star.
  local function slow(p, i, t, j)
    local c = p:sub(i, i)
    if c == "" then return j > #t end
    if (i == 1 or p:sub(i - 1, i - 1) == "/") and p:sub(i, i + 2) == "**/" then
      if slow(p, i + 3, t, j) then return true end
      for k = j, #t do
        if t:sub(k, k) == "/" and slow(p, i + 3, t, k + 1) then return true end
      end
      return false
    elseif (i == 1 or p:sub(i - 1, i - 1) == "/") and p:sub(i) == "**" then
      return j <= #t
    elseif c == "*" then
      for k = j, #t + 1 do
        if slow(p, i + 1, t, k) then return true end
        if t:sub(k, k) == "/" then return false end
      end
      return false
    end
    local d = t:sub(j, j)
    return d ~= "" and (c == d or c == "?" and d ~= "/") and slow(p, i + 1, t, j + 1)
  end

  it("agrees with a matcher that tries everything", function()
    math.randomseed(7)
    local tokens, letters = { "a", "b", "*", "?", "/", "**/", "/**/", "/**", "a*", "/" }, { "a", "b", "/", "a" }
    local function pick(from, most)
      local parts = {}
      for k = 1, math.random(most) do parts[k] = from[math.random(#from)] end
      return table.concat(parts)
    end
    local agreed = { [true] = 0, [false] = 0 }
    for _ = 1, 20000 do
      -- With a slash inside, so that all of the path is matched; none at the end, where it means a folder.
      local pattern, path = pick(tokens, 5):gsub("^/+", "") .. "/" .. pick(tokens, 3):gsub("/+$", ""), pick(letters, 9)
      if not pattern:find("//", 1, true) and not pattern:find("^/") and pattern:find("/[^/]")
        and not pattern:find("/$") then
        local expected = slow(pattern, 1, path, 1)
        if matches(pattern, path) ~= expected then error(("%q, %q: %s expected"):format(pattern, path, tostring(expected))) end
        agreed[expected] = agreed[expected] + 1
      end
    end
    assert.is_true(agreed[true] > 200 and agreed[false] > 200)
  end)
end)
