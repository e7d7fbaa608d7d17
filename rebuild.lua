-- The documented entry point, `lua rebuild.lua [flags]` from any folder: finds this checkout and runs the command in it.
local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/lua/?.lua;" .. here .. "/lua/?/init.lua;" .. package.path
package.cpath = here .. "/build/" .. _VERSION:match("%d+%.%d+") .. "/?.so;" .. package.cpath
os.exit(require "revec.main" (arg, here), true)
