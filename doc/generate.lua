-- Prints doc/options.md from the table of options: `make docs`.
package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
package.cpath = "build/" .. _VERSION:match("%d+%.%d+") .. "/?.so;" .. package.cpath
local options = require "revec.options"

local titles = {
  documented = "As the guide documents them", images = "Which images",
  direct = "Without a backend in between ([direct.md](direct.md))", transport = "How to talk to the backend",
  output = "What is told, and where",
}

local function values(option)
  if option.choices then return table.concat(option.choices, ", ") end
  if not option.min then return ({ strings = "text, repeatable", list = "texts",
                                  service = "name, URL or file; a table" })[option.type] or option.type end
  if option.max >= 2 ^ 53 then return option.type .. ", at least " .. option.min end
  return string.format("%s %.14g..%.14g%s", option.type, option.min, option.max, option.word and " or " .. option.word or "")
end

local function default(option)
  local value = option.default
  if value == nil then return option.type == "boolean" and "off" or "" end
  if type(value) == "table" then value = table.concat(value, ",") end
  return "`" .. (type(value) == "number" and string.format("%.14g", value) or value) .. "`"
end

print [[
# Options

Made by `make docs` from `lua/revec/options.lua`. A flag and a library option have the same name, with `-` in the flag and
`_` in the library and the config file. Options marked * are the command's alone. Hooks are in [hooks.md](hooks.md).]]
local group
for _, option in ipairs(options.list) do
  if option.group then
    if option.group ~= group then
      group = option.group
      print("\n## " .. titles[group] .. "\n\n| flag | value | default | meaning | 说明 |\n|---|---|---|---|---|")
    end
    print(string.format("| `--%s`%s | %s | %s | %s | %s |", (option.name:gsub("_", "-")), option.cli and " *" or "",
      values(option), default(option), option.en, option.zh))
  end
end
