--- The command: flags and config file in, a job driven to its end, log lines and an exit code out.
-- Uses nothing of the library but what any caller can.

local args = require "revec.cli.args"
local bars = require "revec.cli.bar"
local core = require "revec.core"
local logs = require "revec.cli.log"
local messages = require "revec.cli.messages"
local options = require "revec.options"
local reporters = require "revec.cli.reporter"
local revec = require "revec"

local WRONG_USE = 2
local OUT_OF_REACH = 3
local exit_codes = { down = OUT_OF_REACH, denied = OUT_OF_REACH, refused = OUT_OF_REACH, index = OUT_OF_REACH,
                     hook = WRONG_USE, mismatch = WRONG_USE, stopped = 1, max_failures = 1, record = 1, storage = 1,
                     not_switched = 1 }
local signal_codes = { INT = 130, TERM = 143, HUP = 129 }

local function complain(message, code)
  io.stderr:write("revec: ", core.clean(message), "\n")
  return code or WRONG_USE
end

-- A line of the library's, which begins with an option's name, as the command has it: with the flag's.
local function by_flag(why)
  local option = options.by_name[why:match("^([%w_]+):")]
  return option and args.flag_of(option) .. why:sub(#option.name + 1) or why
end

-- The table that the config file returns; or nil and one line.
local function read_config(path)
  local chunk, why = loadfile(path)
  if not chunk then return nil, "--config: " .. why end
  local ok, values = pcall(chunk)
  if not ok then return nil, "--config: " .. tostring(values) end
  if type(values) ~= "table" then
    return nil, string.format("--config: %s: a table of options expected as its result, got %s", path, type(values))
  end
  return values
end

-- Options of config file and flags together, flags first; or nil and one line.
local function gather(flags)
  local given = {}
  if flags.config then
    local config, why = read_config(flags.config)
    if not config then return nil, why end
    local resolved
    resolved, why = options.resolve(config, true)
    if not resolved then return nil, string.format("--config: %s: %s", flags.config, why) end
    for name, value in pairs(config) do given[name] = value end
  end
  for _, option in ipairs(options.list) do
    local value = flags[option.name]
    if value ~= nil then
      local checked, why = options.check(option, value)
      if checked == nil then return nil, args.flag_of(option) .. ": " .. why end
      given[option.name] = checked
    end
  end
  return given
end

local function wants_bar(settings)
  if settings.quiet or settings.log_format == "json" or settings.progress == "never" then return false end
  if not core.columns(io.stderr) then return false end
  return settings.progress == "always" or os.getenv("TERM") ~= "dumb"
end

-- What the user should know before it starts.
local function warn(settings, job, log, say)
  local major, minor = core.libcurl:match("^libcurl/(%d+)%.(%d+)")
  if settings.http2 and tonumber(major) * 100 + tonumber(minor) < 804 then
    log:add("WARNING", "http2", say("old_http2", core.libcurl:match("^%S+")))
  end
  for _, proxy in ipairs(settings.dry_run and {} or job:proxies()) do log:add("INFO", "proxy", say("proxy", proxy)) end
  if settings.verify and (settings.force_reindex or settings.no_skip_indexed) then
    log:add("WARNING", "presence", say("presence"))
  end
end

-- Drives the job; the name of the signal that ended it, if one did. bar: whether to draw it.
local function drive(job, reporter, log, say, bar)
  local ended_by
  local meter = bars.new(say)
  local function draw(width) return meter:text(job:snapshot(), width, reporter.last_image and reporter.last_image.filename) end
  while job:step(bar and 0.1 or 1) do
    local snapshot = job:snapshot()
    local rate = meter:rate(snapshot)
    reporter:step(snapshot)
    for signal in core.signal do
      if signal == "USR1" then
        log:add("RESULT", "snapshot", say("snapshot", reporter:progress_text(snapshot), rate,
          snapshot.active, snapshot.limit, snapshot.retries, snapshot.throttled))
      elseif ended_by then
        job:abort()
      else
        ended_by = signal
        job:stop()
        log:add("WARNING", "stopping", say("stopping", "SIG" .. signal))
      end
    end
    log:flush(bar and draw)
  end
  return ended_by
end

-- The options that the library takes.
local function without_own(given)
  local for_library = {}
  for name, value in pairs(given) do
    if not options.by_name[name].cli then for_library[name] = value end
  end
  return for_library
end

-- Whether a collection that is to be dropped may be; or nil and one line.
local function may_drop(settings, given, say)
  if not settings.recreate or settings.swap or settings.yes or settings.dry_run or options.conflict(settings) then return true end
  local found, why = revec.look(without_own(given))
  if not found then return nil, by_flag(why), OUT_OF_REACH end
  if not found.count then return true end
  local question = say("drop", found.where, found.count)
  if not core.columns(io.stdin) then return nil, say("nobody", question) end
  io.stderr:write(question, " [y/N] ")
  local answer = io.read("*l")
  if answer and answer:lower():find("^%s*y") then return true end
  return nil, say("kept")
end

-- Runs a job with the command's options; the exit code.
local function run(settings, given, say)
  local bar = wants_bar(settings)
  local log = logs.new {
    file = io.stderr, format = settings.log_format,
    least = settings.quiet and "WARNING" or settings.verbose and "DEBUG" or "INFO",
  }
  local reporter = reporters.new(log, say, {
    batch_size = settings.batch_size, storage_path = settings.storage_path, dry_run = settings.dry_run, direct = settings.direct,
    terse = (bar and not settings.verbose) or settings.quiet,
    names = bar, auto = settings.max_concurrent == "auto",
  })
  local for_library = without_own(given)
  for_library.on_event = reporter:listeners(given.on_event)
  local job, why = revec.start(for_library)
  if not job then return complain(by_flag(why)) end
  warn(settings, job, log, say)
  reporter:start()
  for _, path in ipairs(job.repaired or {}) do log:add("WARNING", "repaired", say("repaired", path)) end
  local signal = drive(job, reporter, log, say, bar)
  local report = job:report()
  reporter:finish(report, job:where())
  log:flush()
  if signal and report.reason == "interrupted" then return signal_codes[signal] end
  local pending = report.pending > 0 and not settings.dry_run
  return exit_codes[report.reason] or (report.failed > 0 or report.folders > 0 or report.entries > 0 or pending) and 1 or 0
end

-- Prints what is most like an image, best first; the exit code.
local function search(image, top, given)
  local n = tonumber(top or 10)
  if not n or n % 1 ~= 0 or n < 1 or n > 10000 then return complain("--top: integer 1..10000 expected, got " .. top) end
  if image == "" then return complain("search: the path of an image expected, got an empty one") end
  local what = without_own(given)
  what.image, what.top = image, n
  local hits, why = revec.search(what)
  if not hits then return complain(by_flag(why), OUT_OF_REACH) end
  for _, hit in ipairs(hits) do io.stdout:write(string.format("%.4f\t%s\n", hit.score, core.clean(hit.path or hit.id))) end
  return 0
end

local function roll_back(settings, given, say)
  local why = options.conflict(settings)
  if why then return complain(by_flag(why)) end
  local where
  where, why = revec.rollback(without_own(given))
  -- An index that cannot switch is wrong use, one that does not answer is not.
  if not where then return complain(by_flag(why), not why:find("^rollback:") and OUT_OF_REACH or WRONG_USE) end
  io.stderr:write("revec: ", say("rolled_back", where), "\n")
  return 0
end

--- Runs the command. Blocks until it is done; catches SIGINT, SIGTERM, SIGHUP and SIGUSR1.
-- @param argv array of arguments, without the program's name
-- @return exit code (doc/command.md)
local function main(argv)
  local lang = messages.language()
  for i, argument in ipairs(argv) do
    lang = argument:match("^%-%-lang=(.+)$") or argument == "--lang" and argv[i + 1] or lang
  end
  if lang ~= "zh" then lang = "en" end
  local flags, why = args.parse(argv, lang)
  if not flags then return complain(why) end
  if flags.help then
    io.stdout:write(args.help(lang), "\n")
    return 0
  elseif flags.version then
    io.stdout:write("revec ", revec.version, " (", jit and jit.version or _VERSION, ", ", core.libcurl:match("^%S+"), ")\n")
    return 0
  end
  local given
  given, why = gather(flags)
  if not given then return complain(why) end
  local settings
  settings, why = options.resolve(given, true)
  if not settings then return complain(by_flag(why)) end
  local say = messages.catalogue(settings.lang or messages.language())
  if flags.search then return search(flags.search, flags.top, given) end
  if settings.rollback then return roll_back(settings, given, say) end
  local may, code
  may, why, code = may_drop(settings, given, say)
  if not may then return complain(why, code) end
  core.catch_signals()
  return run(settings, given, say)
end

return { main = main }
