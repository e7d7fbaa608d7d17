require "spec.support.paths"
local options = require "revec.options"

local function refusal(given, for_command)
  local values, why = options.resolve(given, for_command)
  assert.is_nil(values)
  return why
end

describe("options.resolve", function()
  it("fills in the guide's defaults", function()
    local values = assert(options.resolve {})
    assert.same({ "http://localhost:8000", "./storage", 5, 10, 3, 1.0 },
      { values.api_url, values.storage_path, values.max_concurrent, values.batch_size, values.max_retries, values.retry_delay })
    assert.is_nil(values.limit)
    assert.is_nil(values.force_reindex)
    assert.same({ "jpg", "jpeg", "png", "gif", "webp", "bmp" }, values.ext)
  end)

  it("never changes the caller's table", function()
    local given = { limit = 3, ext = { "png" } }
    local values = assert(options.resolve(given))
    values.ext[1] = "gif"
    assert.same({ limit = 3, ext = { "png" } }, given)
  end)

  it("names an unknown option, and the one that was meant", function()
    assert.equal('"limt": no such option: did you mean limit?', refusal { limt = 3 })
    assert.equal('"max_concurent": no such option: did you mean max_concurrent?', refusal { max_concurent = 3 })
    assert.equal('"colour": no such option', refusal { colour = 3 })
    assert.equal("7: no such option", refusal { [7] = true })
  end)

  it("refuses what only the command takes, unless it is the command that asks", function()
    assert.equal('"quiet": no such option', refusal { quiet = true })
    assert.is_true(options.resolve({ quiet = true }, true).quiet)
  end)

  local bad = {
    { "max_concurrent", 0, "integer 1..256 or auto expected, got 0" },
    { "max_concurrent", -1, "integer 1..256 or auto expected, got -1" },
    { "max_concurrent", 1e9, "integer 1..256 or auto expected, got 1000000000" },
    { "max_concurrent", 1.5, "integer 1..256 or auto expected, got 1.5" },
    { "max_concurrent", "many", 'integer 1..256 or auto expected, got "many"' },
    { "max_concurrent", {}, "integer 1..256 or auto expected, got a table" },
    { "limit", 0, "integer of at least 1 expected, got 0" },
    { "retry_delay", -0.5, "number 0..3600 expected, got -0.5" },
    { "timeout", 0, "number 0.001..86400 expected, got 0" },
    { "api_url", "", 'a URL that begins with http:// or https:// expected, got ""' },
    { "api_url", "ftp://host/", 'a URL that begins with http:// or https:// expected, got "ftp://host/"' },
    { "api_url", 8000, "a URL that begins with http:// or https:// expected, got 8000" },
    { "api_url", "http://me:hun/ter2@h\n", 'a URL that begins with http:// or https:// expected, got "http://***@h\\n"' },
    { "proxy", "http://me:hun/ter2@h\0", 'a string expected, not empty, got "http://***@h\\x00"' },
    { "index", "qdrant+http://me:hunter2@h/a\n", 'a name, a URL, a file, or a table of settings expected, got "qdrant+http://***@h/a\\n"' },
    { "failed_dir", "", 'a string expected, not empty, got ""' },
    { "max_failures", "0", 'a number of at least 1, or a share such as 5%, expected, got "0"' },
    { "max_failures", "101%", 'a number of at least 1, or a share such as 5%, expected, got "101%"' },
    { "force_reindex", "yes", 'true or false expected, got "yes"' },
    { "check", "eech", 'one of auto, each, batch, list expected, got "eech"' },
    { "ext", {}, "at least one expected, got a table" },
    { "header", { "A: b\r\nC: d" }, "strings without line breaks expected in the array, got a table" },
    { "filter", "all", 'a function expected, got "all"' },
  }
  for _, case in ipairs(bad) do
    it("refuses " .. case[1] .. " with: " .. case[3], function()
      assert.equal(case[1] .. ": " .. case[3], refusal { [case[1]] = case[2] })
    end)
  end

  it("knows each option once", function()
    local seen = {}
    for _, option in ipairs(options.list) do
      assert.is_nil(seen[option.name], option.name)
      seen[option.name] = true
    end
  end)

  it("refuses a number that is none", function()
    assert.matches("^timeout: number 0.001..86400 expected, got %-?nan$", refusal { timeout = 0 / 0 })
  end)

  it("takes numbers as text, as flags have them", function()
    assert.equal(7, options.resolve({ limit = "7" }).limit)
    assert.equal(0.5, options.resolve({ retry_delay = "0.5" }).retry_delay)
  end)

  it("takes a list as text or as an array", function()
    assert.same({ "png", "gif" }, options.resolve({ ext = "png, gif" }).ext)
    assert.same({ "png", "gif" }, options.resolve({ ext = { "png", "gif" } }).ext)
  end)

  it("takes a function for id and for tags as well", function()
    local function f() end
    local values = assert(options.resolve { id = f, tags = f })
    assert.equal(f, values.make_id)
    assert.equal("stem", values.id)
    assert.equal(f, values.make_tags)
    assert.is_nil(values.tags)
  end)

  it("takes no array that it would take only a part of", function()
    local why = "header: array of strings expected, without other keys and without holes, got a table"
    assert.equal(why, refusal { header = { Accept = "text/html" } })
    assert.equal(why, refusal { header = { "A: b", [3] = "C: d" } })
  end)

  it("cuts a long bad value between characters", function()
    assert.equal('check: one of auto, each, batch, list expected, got "' .. ("中"):rep(30) .. '"', refusal { check = ("中"):rep(31) })
  end)

  it("shows a bad value on one line, however it looks", function()
    assert.equal('check: one of auto, each, batch, list expected, got "a\\nb\239\191\189"', refusal { check = "a\nb\255" })
  end)
end)

describe("doc/options.md", function()
  it("is what the table of options makes of it", function()
    local harness = require "spec.support.harness"
    local made = harness.run { script = harness.root .. "/doc/generate.lua", cwd = harness.root }
    harness.cleanup()
    assert.equal(harness.read("doc/options.md"), made.stdout)
  end)
end)
