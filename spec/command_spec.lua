-- The command's face: flags, wrong use, exit codes, languages. No backend is needed, or a dead one.
local harness = require "spec.support.harness"

local function run(args, more)
  local options = { args = args, env = { LC_ALL = "C", LANG = false, LC_MESSAGES = false } }
  for key, value in pairs(more or {}) do options[key] = value end
  return harness.run(options)
end

-- The command refuses, with this one line and nothing else, and exits with 2.
local function refuses(args, line, more)
  local result = run(args, more)
  assert.equal("revec: " .. line .. "\n", result.output)
  assert.equal(2, result.code)
end

-- The messages of a run, without time, name and level.
local function messages(result)
  local list = {}
  for line in result.stderr:gmatch("[^\n]+") do
    list[#list + 1] = assert(line:match("^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d %- revec %- %u+ %- (.*)$"), line)
  end
  return list
end

describe("the command, used wrongly, says in one line", function()
  after_each(harness.cleanup)

  it("that a flag is unknown, and which was meant", function()
    refuses({ "--limt", "3" }, "unknown option '--limt': did you mean '--limit'?")
    refuses({ "--zzzzzzzz" }, "unknown option '--zzzzzzzz'")
  end)

  it("that a value is missing, of the wrong type or out of range", function()
    refuses({ "--limit" }, "option '--limit' requires an argument")
    refuses({ "--limit", "ten" }, '--limit: integer of at least 1 expected, got "ten"')
    refuses({ "--limit", "-3" }, '--limit: integer of at least 1 expected, got "-3"')
    refuses({ "--max-concurrent", "0" }, '--max-concurrent: integer 1..256 or auto expected, got "0"')
    refuses({ "--retry-delay", "-.5" }, '--retry-delay: number 0..3600 expected, got "-.5"')
    refuses({ "--timeout", "nan" }, '--timeout: number 0.001..86400 expected, got "nan"')
    refuses({ "--lang", "fr" }, '--lang: one of zh, en expected, got "fr"')
    refuses({ "--api-url", "localhost:8000" }, '--api-url: a URL that begins with http:// or https:// expected, got "localhost:8000"')
  end)

  it("that a pattern, a size, a time or a shard is none", function()
    refuses({ "--include", "a[" }, '--include: patterns expected (a [ without its ]: "a["), got a table')
    refuses({ "--min-size", "5x" }, '--min-size: bytes expected, as 500, 100k, 20M or 1G, got "5x"')
    refuses({ "--shard", "9/8" }, '--shard: K/N with K from 1 to N expected, or auto, got "9/8"')
    refuses({ "--newer-than", "2026-02-30" }, "--newer-than: a date (2026-01-25 or 2026-01-25 12:30:00), @Unix seconds or "
      .. 'an age (90s, 30m, 12h, 7d, 2w) expected, got "2026-02-30"')
    refuses({ "--storage-path", harness.tree { "a.jpg" }, "--min-size", "2k", "--max-size", "1k" },
      "--max-size: it is less than min_size")
  end)

  it("that it takes no other words", function()
    refuses({ "photos" }, "unexpected argument 'photos': only flags are taken, or search IMAGE; --help lists them")
  end)

  it("that the storage is missing, a file or unreadable", function()
    local dir = harness.tree { "a.jpg" }
    refuses({ "--storage-path", dir .. "/none" }, "--storage-path: " .. dir .. "/none: No such file or directory")
    refuses({ "--storage-path", dir .. "/a.jpg" }, "--storage-path: " .. dir .. "/a.jpg: Not a directory")
    refuses({ "--storage-path", "a\nb\255" }, "--storage-path: a\\nb\239\191\189: No such file or directory")
  end)

  it("that the record cannot be written where it should", function()
    local dir = harness.tree { "a.jpg" }
    local result = run { "--storage-path", dir, "--failed-dir", dir .. "/none" }
    assert.equal(2, result.code)
    assert.matches("^revec: %-%-failed%-dir: [^\n]*/none/failed_images_[^\n]*: No such file or directory\n$", result.output)
  end)

  it("that the token's variable is not set, or holds what no header may", function()
    local dir = harness.tree { "a.jpg" }
    refuses({ "--storage-path", dir, "--token-env", "NO_SUCH_TOKEN" },
      "--token-env: the environment variable NO_SUCH_TOKEN is not set")
    refuses({ "--storage-path", dir, "--token-env", "TOKEN" },
      "--token-env: the value of TOKEN holds a control character", { env = { TOKEN = "secret\r\nX: y" } })
  end)

  it("that a certificate is not there", function()
    refuses({ "--storage-path", harness.tree { "a.jpg" }, "--cacert", "/none.pem" }, "--cacert: /none.pem: no such file")
  end)

  it("that a header is none", function()
    -- What was given is not repeated: it may be a token.
    refuses({ "--storage-path", harness.tree { "a.jpg" }, "--header", "Bearer hunter2" },
      "--header: 'Name: value' expected in header 1")
  end)
end)

describe("what may not be read", function()
  after_each(harness.cleanup)

  -- Root may read everything, unless it gives that right up.
  local function without_rights(storage, args)
    return harness.run {
      command = { "setpriv", "--bounding-set=-all", "--inh-caps=-all", "sh", "-c",
        harness.lua_command() .. " '" .. harness.root .. "/rebuild.lua' --storage-path '" .. storage .. "' " .. args },
      env = { LC_ALL = "C" },
    }
  end

  it("ends the command when it is the storage itself", function()
    local dir = harness.tree { "in/a.jpg" }
    harness.shell("chmod 000 '" .. dir .. "/in'; chmod 755 '" .. dir .. "'")
    local result = without_rights(dir .. "/in", "")
    harness.shell("chmod 755 '" .. dir .. "/in'")
    assert.same({ 2, "revec: --storage-path: " .. dir .. "/in: Permission denied\n" }, { result.code, result.output })
  end)

  it("is told of and counted when it is a folder below, and the exit code is 1", function()
    local dir = harness.tree { "a.jpg", "locked/b.jpg", "z.jpg" }
    harness.shell("chmod 000 '" .. dir .. "/locked'; chmod 755 '" .. dir .. "'")
    local result = without_rights(dir, "--dry-run")
    harness.shell("chmod 755 '" .. dir .. "/locked'")
    assert.equal(1, result.code, result.output)
    assert.is_truthy(result.stderr:find("WARNING - Folder cannot be read: " .. dir .. "/locked: Permission denied\n", 1, true))
    assert.matches("Total images: 2\n.*Unreadable folders: 1\n", result.stderr)
  end)
end)

describe("the config file", function()
  after_each(harness.cleanup)

  local function with_config(text, args)
    local dir = harness.tree { "a.jpg" }
    harness.write(dir .. "/config.lua", text)
    local all = { "--config", "config.lua", "--storage-path", "." }
    for _, argument in ipairs(args or {}) do all[#all + 1] = argument end
    return run(all, { cwd = dir })
  end

  local function is_refused(text, pattern)
    local result = with_config(text)
    assert.matches("^revec: %-%-config: " .. pattern .. "\n$", result.output)
    assert.equal(2, result.code)
  end

  it("is refused when it is missing, broken or no table of options", function()
    refuses({ "--config", "none.lua" }, "--config: cannot open none.lua: No such file or directory")
    is_refused("return {", "config.lua:1: .*")
    is_refused("error 'no luck'", "config.lua:1: no luck")
    is_refused("return 7", "config.lua: a table of options expected as its result, got number")
    is_refused("return { limt = 3 }", 'config.lua: "limt": no such option: did you mean limit%?')
    is_refused("return { limit = 'x' }", 'config.lua: limit: integer of at least 1 expected, got "x"')
  end)

  it("may hold a hook that raises: one line names it, and the run ends with 2", function()
    local result = with_config("return { dry_run = true, filter = function() error('no luck') end }")
    assert.equal(2, result.code)
    assert.matches("ERROR %- Error in a hook: filter: config.lua:1: no luck\n", result.stderr)
  end)

  it("gives options, before which flags go", function()
    local result = with_config("return { dry_run = true, ext = { 'png' }, lang = 'zh' }")
    assert.equal(0, result.code)
    assert.matches("总图像数: 0\n", result.stderr)
    result = with_config("return { dry_run = true, ext = { 'png' } }", { "--ext", "JPG" })
    assert.matches("Total images: 1\n", result.stderr)
  end)
end)

describe("the command", function()
  after_each(harness.cleanup)

  it("shows its version and its help on standard output", function()
    local result = run { "--version" }
    assert.matches("^revec %d+%.%d+%.%d+ %(Lua[^,]+, libcurl/[%d.]+%)\n$", result.stdout)
    assert.equal(0, result.code)
    result = run { "--help" }
    assert.equal("", result.stderr)
    for _, flag in ipairs { "api-url", "storage-path", "max-concurrent", "batch-size", "max-retries", "retry-delay",
                            "force-reindex", "no-skip-indexed", "limit", "verbose", "dry-run", "token-env", "config" } do
      assert.is_truthy(result.stdout:find("--" .. flag, 1, true), flag)
    end
    assert.matches("存储路径", run({ "--help", "--lang", "zh" }).stdout)
  end)

  it("warns of an empty storage and exits with 0", function()
    local dir = harness.tree { "notes.txt" }
    local result = run { "--storage-path", dir }
    assert.equal(0, result.code)
    assert.matches("WARNING %- No images in the storage: ", result.stderr)
    assert.matches("Total images: 0\n", result.stderr)
  end)

  it("makes no request in a dry run", function()
    local dir = harness.tree { "a.jpg", "b/c.PNG", "b/d.txt", ".hidden.gif" }
    local result = run { "--storage-path", dir, "--dry-run", "--api-url", "http://127.0.0.1:1" }
    assert.equal(0, result.code)
    assert.matches("Total images: 3\n.*Pending: 3\n", result.stderr)
    assert.same({}, harness.records(result.cwd))
  end)

  it("says once that the backend is dead, and exits with 3", function()
    local dir = harness.tree { "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg" }
    local url = "http://127.0.0.1:" .. harness.free_port()
    local result = run { "--storage-path", dir, "--api-url", url }
    assert.equal(3, result.code)
    local _, errors = result.stderr:gsub(" %- ERROR %- ", "")
    assert.equal(1, errors)
    assert.matches("Backend out of reach %(" .. url:gsub("%p", "%%%0") .. "%): Failed to connect", result.stderr)
    assert.matches("Total images: 6\n.*Succeeded: 0\n.*Failed: 0\n.*Skipped: 0\n.*Pending: 6\n", result.stderr)
    assert.same({}, harness.list(result.cwd))
  end)

  it("shows no password of a URL, whatever its characters, nor of a wrong one", function()
    for _, url in ipairs { "http://user:hun@ter2@127.0.0.1:1", "ftp://user:hunter2@host/", "user:hunter2@host",
                           "http://user:hun/ter2@127.0.0.1:1", "http://user:1?ter2@127.0.0.1:1", "http://user:hun#ter2@127.0.0.1:1",
                           "user:hun/ter2@host" } do
      local result = run { "--storage-path", harness.tree { "a.jpg" }, "--api-url", url }
      assert.is_nil(result.output:find("ter2", 1, true), result.output)
      assert.is_truthy(result.output:find("***@", 1, true), result.output)
    end
  end)

  it("shows no password of a URL", function()
    local result = run { "--storage-path", harness.tree { "a.jpg" }, "--api-url",
                         "http://user:hunter2@127.0.0.1:" .. harness.free_port() }
    assert.is_nil(result.output:find("hunter2", 1, true))
    assert.matches("http://%*%*%*@127", result.output)
  end)

  it("speaks the language of the environment", function()
    local dir = harness.tree { "notes.txt" }
    local function says(env)
      env.LC_ALL, env.LC_MESSAGES, env.LANG = env.LC_ALL or false, env.LC_MESSAGES or false, env.LANG or false
      return run({ "--storage-path", dir }, { env = env }).stderr:find("重建完成", 1, true) and "zh" or "en"
    end
    assert.equal("zh", says { LANG = "zh_CN.UTF-8" })
    assert.equal("en", says { LANG = "zh_CN.UTF-8", LC_ALL = "C" })
    assert.equal("zh", says { LANG = "en_US", LC_MESSAGES = "zh_TW" })
    assert.equal("en", says {})
  end)

  it("keeps warnings, errors and statistics when quiet", function()
    local result = run { "--storage-path", harness.tree { "a.jpg" }, "--dry-run", "--quiet" }
    local shown = messages(result)
    assert.same({ "Total images: 1", "Succeeded: 0", "Failed: 0", "Skipped: 0", "Pending: 1" },
      { shown[1], shown[2], shown[3], shown[4], shown[5] })
  end)

  it("logs JSON objects when asked to", function()
    local cjson = require "cjson"
    local result = run { "--storage-path", harness.tree { "a.jpg" }, "--dry-run", "--log-format", "json" }
    local events = {}
    for line in result.stderr:gmatch("[^\n]+") do
      local object = cjson.decode(line)
      assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$", object.time)
      events[object.event] = object.message
    end
    assert.equal("Total images: 1", events.total)
  end)

  it("tells which paths of a list are no use, and exits with 1", function()
    local dir = harness.tree { "a.jpg" }
    local args = { "--storage-path", dir, "--dry-run", "--files-from", "-" }
    local result = run(args, { stdin = "../x\27.jpg\na.jpg" })
    assert.equal(1, result.code)
    assert.matches("WARNING %- Path in the list is no use: %.%./x\\x1b%.jpg: it is outside the storage\n", result.stderr)
    assert.matches("Total images: 1\n.*Unusable paths in the list: 1\n", result.stderr)
  end)

  it("ends when a list is asked of a standard input that is closed", function()
    local result = harness.run {
      command = { "sh", "-c", harness.lua_command() .. " '" .. harness.root .. "/rebuild.lua' --dry-run --files-from - --storage-path '"
        .. harness.tree { "a.jpg" } .. "' <&-" },
      env = { LC_ALL = "C" },
    }
    assert.equal(1, result.code)
    assert.matches("Path in the list is no use: : Bad file descriptor\n", result.stderr)
  end)

  it("runs from any folder, by any path to it", function()
    local dir = harness.tree { "a.jpg" }
    local result = harness.run {
      command = { "sh", "-c", "cd / && " .. harness.lua_command() .. " " .. harness.root .. "/./rebuild.lua --dry-run --storage-path " .. dir },
    }
    assert.equal(0, result.code)
  end)

  it("says what to run under a Lua that has no core", function()
    local result = run({ "--version" }, { script = (function()
      local dir = harness.tempdir()
      harness.write(dir .. "/rebuild.lua", harness.read(harness.root .. "/rebuild.lua"))
      harness.shell("cp -r '" .. harness.root .. "/lua' '" .. dir .. "/lua'")
      return dir .. "/rebuild.lua"
    end)() })
    assert.equal(2, result.code)
    assert.matches("^revec: revec%.core for Lua 5%.%d: not found: run 'make LUA=%w[%w.]*' in [^\n]+\n$", result.output)
  end)
end)
