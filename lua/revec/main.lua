--- Starts the command, once everything that it needs is there; else one line says what to do.

-- Why a module cannot be loaded: that it is not there, or what is wrong with it.
local function missing(name)
  local ok, why = pcall(require, name)
  if ok then return nil end
  return why:find("module '" .. name .. "' not found", 1, true) and "not found" or why:match("^[^\n]*")
end

--- @param argv array of arguments
-- @param checkout the checkout's folder, nil when installed
-- @return exit code
return function(argv, checkout)
  local lua = jit and "luajit" or "lua" .. _VERSION:match("%d+%.%d+")
  local remedy = {
    { "revec.core", checkout and string.format("run 'make LUA=%s' in %s", lua, checkout) or "run 'luarocks make' again for this Lua" },
    { "cjson", "install lua-cjson (Debian: lua-cjson)" },
    { "argparse", "install argparse (Debian: lua-argparse)" },
  }
  for _, entry in ipairs(remedy) do
    local why = missing(entry[1])
    if why then
      io.stderr:write("revec: ", entry[1], " for ", _VERSION, ": ", why, ": ", entry[2], "\n")
      return 2
    end
  end
  return require "revec.cli".main(argv)
end
