-- Any table of options is taken as it is or refused in one line, and so is any command line: nothing raises, nothing is
-- ignored, and what was taken once is taken again.

local args = require "revec.cli.args"
local core = require "revec.core"
local options = require "revec.options"

-- Takes values from the input's bytes; at its end all are 0 or empty.
local function reader(bytes)
  local at = 1
  local r = {}
  function r.more() return at <= #bytes end
  function r.byte()
    at = at + 1
    return bytes:byte(at - 1) or 0
  end
  function r.string()
    local n = r.byte() % 80
    at = at + n
    return bytes:sub(at - n, at - 1)
  end
  return r
end

local numbers = { 0, -1, 0.5, 1, 1024, 2 ^ 53, 2 ^ 63, -2 ^ 63, 1e308, math.huge, -math.huge, 0 / 0, 1e-320, 86400 }

local function value_of(r, depth)
  local sort = r.byte() % 9
  if sort == 0 then return r.byte() % 2 == 1 end
  if sort == 1 then return numbers[1 + r.byte() % #numbers] end
  if sort == 2 then return r.byte() end
  if sort == 3 then return print end
  if sort == 4 then return tostring(r.byte()) .. (r.byte() % 2 == 1 and "%" or "") end
  if sort == 5 and depth < 2 then
    local list = {}
    for i = 1, r.byte() % 4 do list[i] = value_of(r, depth + 1) end
    if r.byte() % 4 == 0 then list[r.string()] = value_of(r, depth + 1) end
    return list
  end
  if sort == 6 then
    local option = options.list[1 + r.byte() % #options.list]
    return option.choices and option.choices[1] or "http://" .. r.string()
  end
  return r.string()
end

local function one_line(why, given)
  if type(why) == "string" and why ~= "" and not why:find("%c") and core.is_utf8(why) then return end
  error(string.format("no clear line: %q of %s", tostring(why), given), 0)
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do if not same(value, b[key]) then return false end end
  for key in pairs(b) do if a[key] == nil then return false end end
  return true
end

local function options_from(r)
  local for_command, given = r.byte() % 2 == 1, {}
  while r.more() do
    local pick = r.byte()
    local option = options.list[1 + pick % #options.list]
    given[pick > 250 and r.string() or pick == 250 and r.byte() or option.alias or option.name] = value_of(r, 0)
  end
  local resolved, why = options.resolve(given, for_command)
  if not resolved then return one_line(why, "options") end
  for name, value in pairs(resolved) do
    local option = options.by_name[name]
    if option.type == "strings" or option.type == "list" then
      local n = 0
      for _ in pairs(value) do n = n + 1 end
      assert(n == #value, name)
    end
    if given[name] ~= nil and type(given[name]) == "table" and type(value) == "table" then
      assert(same(given[name], value), name .. ": not all of it was taken")
    end
    local checked = options.check(option, value)
    assert(same(checked, value), name .. ": taken once, and not again as the same")
  end
end

local function command_line(r)
  local argv, lang = {}, r.byte() % 2 == 1 and "zh" or "en"
  while r.more() do
    local pick = r.byte()
    local option = options.list[1 + pick % #options.list]
    argv[#argv + 1] = pick > 200 and r.string() or args.flag_of(option) .. (pick % 3 == 0 and "=" .. r.string() or "")
  end
  local flags, why = args.parse(argv, lang)
  -- The command shows all lines cleaned.
  if not flags then return one_line(core.clean(why), "arguments") end
  for name, value in pairs(flags) do
    local option = options.by_name[name]
    if option then
      local checked
      checked, why = options.check(option, value)
      if checked == nil then one_line(why, args.flag_of(option)) end
    end
  end
end

return function(bytes)
  local r = reader(bytes)
  -- Most of the time goes into argparse's making of a parser.
  if r.byte() % 32 > 0 then options_from(r) else command_line(r) end
end
