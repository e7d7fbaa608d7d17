-- Folders of files for specs, removed at the end whatever lies in them.

local lfs = require("lfs")
local process = require("spec.support.process")

local SHELL_SECONDS = 60

local storages = {}
local made = {}

-- In a shell without the sanitizer that this process may be run with.
function storages.shell(dir, commands)
  local child = process.spawn { command = { "sh", "-c", commands }, cwd = dir, env = { LD_PRELOAD = false } }
  assert(child:wait(SHELL_SECONDS), "hangs: " .. commands)
  assert(child.code == 0, commands)
end

function storages.empty()
  local dir = process.tempdir()
  made[#made + 1] = dir
  storages.shell(dir, "chmod 755 .")
  return dir
end

-- Makes files (and the folders they lie in; those that end in a slash are empty) in the order given.
function storages.of(names)
  local dir = storages.empty()
  for _, name in ipairs(names) do
    for stop in name:gmatch("()/") do lfs.mkdir(dir .. "/" .. name:sub(1, stop - 1)) end
    if name:sub(-1) ~= "/" then process.write(dir .. "/" .. name, "") end
  end
  return dir
end

function storages.remove_all()
  -- By the shell: process.remove goes by whole paths, which may be longer than any may be.
  for _, dir in ipairs(made) do storages.shell("/", "rm -rf " .. process.quote(dir)) end
  made = {}
end

return storages
