-- Lets a spec require revec and its C parts from this checkout, built for the Lua that runs it. The build folder is
-- $REVEC_BUILD (default: build), so that the same specs run against a build with sanitizers.

local lfs = require("lfs")

local root = debug.getinfo(1, "S").source:match("^@(.*)spec/support/[^/]*$")
if root:sub(1, 1) ~= "/" then root = lfs.currentdir() .. "/" .. root end

local build = os.getenv("REVEC_BUILD") or "build"
if build:sub(1, 1) ~= "/" then build = root .. build end

package.path = root .. "lua/?.lua;" .. root .. "lua/?/init.lua;" .. package.path
package.cpath = build .. "/" .. _VERSION:match("%d+%.%d+") .. "/?.so;" .. package.cpath

return { root = root, build = build }
