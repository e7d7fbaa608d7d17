--- The command's flags, made from the table of options; parsing is lua-argparse's.

local argparse = require "argparse"
local options = require "revec.options"

local unpack = table.unpack or unpack -- luacheck: ignore 113 143

local groups = {
  { "documented", "Documented flags", "文档参数" },
  { "images", "Which images", "图像选择" },
  { "direct", "Without a backend in between", "直连模式" },
  { "transport", "How to talk to the backend", "传输" },
  { "output", "What is told, and where", "输出" },
}

local function flag_of(option) return "--" .. option.name:gsub("_", "-") end

local function describe(option, lang)
  local text = option[lang]
  local default = option.default
  if type(default) == "table" then default = table.concat(default, ",") end
  if type(default) == "number" then default = string.format("%.14g", default) end
  if default == nil then return text end
  return text .. (lang == "zh" and "（默认 " .. default .. "）" or " (default: " .. default .. ")")
end

local function parser_for(lang)
  local parser = argparse("revec", lang == "zh" and "重建向量索引，并使其与图像目录保持一致。"
    or "Rebuilds a vector index from a folder of images, and keeps it in step.")
  parser:usage(lang == "zh" and "用法: revec [参数]\n      revec search 图像 [--index …] [--top N]"
    or "Usage: revec [flags]\n       revec search IMAGE [--index …] [--top N]"):add_help(false):help_max_width(100)
  local by_group = {}
  for _, option in ipairs(options.list) do
    if option.group then
      local flag
      if option.type == "boolean" then
        flag = parser:flag(flag_of(option) .. (option.also and " " .. flag_of { name = option.also } or ""))
      else
        local choices = option.choices and #option.choices > 1 and table.concat(option.choices, "|")
        flag = parser:option(flag_of(option)):argname(option.metavar or choices or option.choices and option.choices[1] or "N")
        if option.type == "strings" then flag:count("*") end
      end
      flag:target(option.name):description(describe(option, lang))
      by_group[option.group] = by_group[option.group] or {}
      table.insert(by_group[option.group], flag)
    end
  end
  table.insert(by_group.direct, parser:option("--top"):argname("N"):target("top")
    :description(lang == "zh" and "search：最相近的 N 张（默认 10）" or "search: the N nearest images (default: 10)"))
  table.insert(by_group.output, parser:flag("--version"):description(lang == "zh" and "显示版本" or "show the version"))
  table.insert(by_group.output, parser:flag("-h --help"):description(lang == "zh" and "显示本帮助" or "show this help"))
  parser:argument("rest"):args("*"):hidden(true)
  for _, group in ipairs(groups) do
    parser:group(lang == "zh" and group[3] or group[2], unpack(by_group[group[1]]))
  end
  return parser
end

-- A negative number is a value, not a flag: "--rate -1" reaches argparse as "--rate=-1".
local function join_negatives(argv)
  local joined, i = {}, 1
  while i <= #argv do
    local value = argv[i]:find("^%-%-[%w-]+$") and argv[i + 1] and argv[i + 1]:match("^%-%.?%d.*")
    joined[#joined + 1] = value and argv[i] .. "=" .. value or argv[i]
    i = i + (value and 2 or 1)
  end
  return joined
end

--- @param argv array of arguments
-- @param lang "zh" or "en", for the help
-- @return table of the flags that were given (by option name, values as strings; help, version and top too), and search,
--   the image's path of `search IMAGE`; or nil and one line
local function parse(argv, lang)
  local ok, result = parser_for(lang):pparse(join_negatives(argv))
  if not ok then return nil, (result:gsub("\nDid you mean", ": did you mean")) end
  local rest = result.rest or {}
  result.rest = nil
  if rest[1] == "search" and not result.help then
    if #rest ~= 2 then return nil, "search: one image expected, got " .. #rest - 1 end
    result.search = rest[2]
  elseif rest[1] then
    return nil, string.format("unexpected argument '%s': only flags are taken, or search IMAGE; --help lists them", rest[1])
  elseif result.top then
    return nil, "--top: only with search"
  end
  -- A flag that may be repeated and was not given is no empty list of values.
  for name, value in pairs(result) do
    if type(value) == "table" and #value == 0 then result[name] = nil end
  end
  return result
end

return { parse = parse, help = function(lang) return parser_for(lang):get_help() end, flag_of = flag_of }
