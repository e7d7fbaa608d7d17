-- Writes a page that shows images of a storage beside those that are most like them.
--
--   lua5.4 examples/neighbours.lua STORAGE INDEX > page.html
--
-- INDEX is an SQLite file of `--direct`. The page refers to the images where they are.

local revec = require "revec"
local stores = require "revec.store"

local QUERIES, NEIGHBOURS = 8, 6

local storage, index = arg[1], arg[2]
if not index then
  io.stderr:write("usage: neighbours.lua STORAGE INDEX > page.html\n")
  os.exit(2)
end

local function must(value, why)
  if value ~= nil then return value end
  io.stderr:write("neighbours.lua: ", tostring(why), "\n")
  os.exit(1)
end

local function html(text)
  return (text:gsub("[&<>\"']", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }))
end

-- A path as a URL has it: all but what may stand there as it is, in hexadecimal.
local function url(path)
  return (path:gsub("[^%w%-._~/]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function figure(path, caption)
  return ('<figure><img src="%s" alt="%s" loading="lazy"><figcaption>%s</figcaption></figure>'):format(
    url(storage .. "/" .. path), html(path), html(caption))
end

local store = must(stores.open(index, { readonly = true }))
local count = must(store:count())
local ids = must(store:ids("", 1000000))
io.write([[<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Nearest neighbours</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
section { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .75rem; padding: 1rem 0;
  border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
figure { margin: 0; }
figure:first-child img { outline: 3px solid #2a7de1; outline-offset: 2px; }
img { width: 100%; aspect-ratio: 3 / 2; object-fit: cover; border-radius: 4px; background: #8883; }
figcaption { font-variant-numeric: tabular-nums; opacity: .75; }
</style>
]])
io.write("<h1>Nearest neighbours</h1>\n<p>", count, " images in ", html(index),
  ". The framed one was searched for; the others are the nearest, with their cosine.</p>\n")
local step = math.max(1, math.floor(#ids / QUERIES))
for i = 1, math.min(#ids, step * QUERIES), step do
  local path = must(store:get(ids[i]), "the index is being changed").path
  local hits = must(revec.search { image = storage .. "/" .. path, index = index, top = NEIGHBOURS + 1 })
  io.write("<section>", figure(path, "searched for"))
  for _, hit in ipairs(hits) do
    if hit.id ~= ids[i] then io.write(figure(hit.path, ("%.3f"):format(hit.score))) end
  end
  io.write("</section>\n")
end
store:close()
