-- Storages that are hard to walk: very many files in one folder, and paths as long and deep as they come, through walk, list,
-- log and record. REVEC_FILES: how many files in the folder (make soak: a million).
require "spec.support.paths"
local cjson = require "cjson"
local core = require "revec.core"
local harness = require "spec.support.harness"
local lfs = require "lfs"
local process = require "spec.support.process"
local revec = require "revec"
local server = require "spec.support.server"
local storages = require "spec.support.storages"

local files = tonumber(os.getenv("REVEC_FILES") or 2000)

describe("a storage", function()
  after_each(function()
    storages.remove_all()
    harness.cleanup()
  end)

  it("of very many files in one folder is walked and listed in order, to the last of them", function()
    local dir = storages.empty()
    -- In parts, for storages.shell waits but a minute.
    local function each_part(command)
      for last = files, 1, -20000 do
        storages.shell(dir, ("seq -f %%07.0f.jpg %d -1 %d | xargs %s"):format(last, math.max(last - 19999, 1), command))
      end
    end
    each_part("touch")
    storages.shell(dir, ("seq -f %%07.0f.jpg 1 %d >list"):format(files))
    for _, list in ipairs { false, dir .. "/list" } do
      local n = 0
      local report = assert(revec.rebuild {
        storage_path = dir, dry_run = true, files_from = list or nil, exclude = { "*9.jpg" },
        filter = function(image)
          n = n + (n % 10 == 8 and 2 or 1)
          if image.relative_path ~= ("%07d.jpg"):format(n) then error(n .. ": " .. image.relative_path) end
          return true
        end,
      })
      assert.same({ "done", files * 9 / 10, files / 10 }, { report.reason, report.total, report.filtered })
    end
    each_part("rm")
  end)

  it("a thousand folders deep, its paths longer than any system call takes, is told of in log and record", function()
    local dir, home, name, depth = storages.empty(), lfs.currentdir(), "new\nline \255", 0
    assert(lfs.chdir(dir))
    local ok, why = pcall(function()
      for level = 1, 1000 do
        depth = level
        assert(lfs.mkdir(name))
        assert(lfs.chdir(name))
        if level == 1 or level == 350 or level == 1000 then process.write(level .. ".jpg", "") end
      end
    end)
    assert(lfs.chdir(home))
    assert.is_true(ok, depth .. ": " .. tostring(why))
    local s = server.start [[return function(request, reply)
      if request.method == 'GET' then return reply.not_indexed() end
      reply.json(400, '{"detail":"no"}')
    end]]
    local result = harness.run { args = { "--api-url", s.url, "--storage-path", dir, "--max-size", "1k", "--max-concurrent", "1" } }
    s:stop()
    assert.equal(1, result.code, result.stderr)
    local record = result.cwd .. "/" .. harness.list(result.cwd)[1]
    local paths = {}
    for i, entry in ipairs(cjson.decode(harness.read(record))) do paths[i] = core.unbase64(entry.path_base64) end
    assert.equal(3, #paths)
    for i, level in ipairs { 1, 350, 1000 } do
      assert.is_true(paths[i] == dir .. "/" .. (name .. "/"):rep(level) .. level .. ".jpg", level)
    end
    -- What is longer than a path may be is refused by a list, and only that.
    harness.write(result.cwd .. "/list", paths[3] .. "\0")
    local report = assert(revec.rebuild { storage_path = dir, dry_run = true, files_from = result.cwd .. "/list" })
    assert.same({ 0, 1 }, { report.total, report.entries })
    harness.write(result.cwd .. "/list", paths[1] .. "\0" .. paths[2] .. "\0")
    report = assert(revec.rebuild { storage_path = dir, dry_run = true, files_from = result.cwd .. "/list" })
    assert.same({ 2, 0 }, { report.total, report.entries })
  end)
end)
