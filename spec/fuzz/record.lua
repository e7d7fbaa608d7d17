-- Any bytes as what a killed run left behind, whole lines between them: the repaired record is JSON and holds every whole
-- line. Any bytes as a record to retry: its paths, or one line that says what is wrong.

local cjson = require "cjson.safe"
local core = require "revec.core"
local records = require "revec.record"
local sources = require "revec.sources"

-- The disk is not what is tested, and a hundred times slower than the rest.
core.sync = function() return true end
core.sync_folder = core.sync

local dir = os.tmpname()
os.remove(dir)
os.execute("mkdir '" .. dir .. "'")
-- libFuzzer leaves by _exit: what is left then is this folder, empty but for one file.
local journal, record = dir .. "/failed_images_20240125_100130.1.journal", dir .. "/record.json"

-- The file is made anew: some file systems write at once what replaces older bytes.
local function write(path, bytes)
  os.remove(path)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("*a")
  file:close()
  return bytes
end

local function whole(n)
  return string.format('"id": "whole %d"\t"filename": "a"\t"path": "/p/a"\t"error": "e"\t"kind": "timeout"\t"status": null\t'
    .. '"attempts": 1\t"sends": 1\t\n', n)
end

-- Strict JSON as to strings: no control characters in them. cjson lets them pass.
local function is_json(text)
  return core.is_utf8(text) and not text:gsub("\n", ""):find("%c") and not text:gsub('\\.', ""):gsub('"[^"\n]*"', ""):find('"')
    and cjson.decode(text)
end

local function repair(bytes)
  -- In place of each line that begins with # stands a whole one, of one with @ a whole one with bytes of it overwritten.
  local lines, wholes = {}, 0
  for line, stop in bytes:gmatch("([^\n]*)(\n?)") do
    if line:sub(1, 1) == "#" then
      wholes = wholes + 1
      lines[#lines + 1] = whole(wholes)
    elseif line:sub(1, 1) == "@" then
      local at, other = (line:byte(2) or 0) % 120, whole(0)
      lines[#lines + 1] = other:sub(1, at) .. line:sub(3) .. other:sub(at + #line - 1, -2) .. "\n"
    else
      lines[#lines + 1] = line .. stop
    end
  end
  write(journal, table.concat(lines))
  local made = records.repair(dir)
  assert(#made <= 1 and not core.stat(journal), "the journal stays")
  local found = {}
  if made[1] then
    local text = read(made[1])
    os.remove(made[1])
    local entries = is_json(text)
    assert(type(entries) == "table" and #entries > 0, "no JSON: " .. text)
    for _, entry in ipairs(entries) do found[entry.id] = true end
    -- What was repaired can be retried.
    write(record, text)
    assert(sources.open(nil, { retry_failed = record }, "/p/"))
  end
  for i = 1, wholes do assert(found["whole " .. i], "a whole line is lost") end
end

local function retry(bytes)
  write(record, bytes)
  local source, why = sources.open(nil, { retry_failed = record }, "/p/")
  if not source then
    assert(type(why) == "string" and why:find("^retry_failed: ") and not why:find("%c") and core.is_utf8(why), tostring(why))
    return
  end
  local n = 0
  while true do
    local path, id, root = source:next()
    if not path then
      assert(id == "end")
      break
    end
    assert(type(path) == "string" and type(id) == "string" and id ~= "" and type(root) == "string")
    n = n + 1
  end
  local total, known = source:total()
  assert(total == n and known)
end

return function(bytes)
  if bytes:byte() == 33 then retry(bytes:sub(2)) else repair(bytes) end
end
