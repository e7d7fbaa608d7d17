-- luv, loaded once in a process: busted forgets what a file has loaded before it runs the next one, and luv that is loaded
-- again over the loop of its first time crashes in uv_spawn.
local registry = debug.getregistry()
registry["revec.spec.luv"] = registry["revec.spec.luv"] or require("luv")
return registry["revec.spec.luv"]
