-- What a run does with the core, small: every sort of answer, a pause, a walk, workers, ids, strings. failing_spec.lua has
-- each call for memory in it fail in turn (spec/support/failing.c). Raises what the core raises; "wrong: …" when what it did
-- was not right: an answer lost or told twice, a success that is none, a file lost without a word.
-- Arguments: the server's URL, a name of its own for this run, a folder to walk, how many images are in it.

local core, task = core, task -- luacheck: ignore
local url, run, root, images = ...
local deadline = core.now() + 10
local kept = {} -- to the end: a finalizer that Lua has no memory to call is lost, and with it the core's memory

local function check(truth, ...)
  if not truth then error("wrong: " .. table.concat({ ... }, " "), 0) end
  return truth
end

-- What failed for want of memory works when it is asked again: nothing of it was lost.
local function again(f, ...)
  local ok, first, second, third, fourth = pcall(f, ...)
  if ok then return first, second, third, fourth end
  if not tostring(first):find("not enough memory", 1, true) then error(first, 0) end
  return f(...)
end

local function as_asked(event, item)
  local fields = event.fields
  if item == "text" then
    return fields.status == "success" and fields.message == ("long "):rep(100) and fields.count == "[1,2,3]"
  end
  return event.status == (item == "missing" and 404 or 200) and (not fields or fields.status == "success" or event.landed)
end

-- Asks for items, each { route, item, … as in submit }, until all are answered.
local function ask(engine, items)
  local answered, open = {}, #items
  for _, item in ipairs(items) do engine:submit(item[1], url .. "/" .. item[2] .. "?" .. run, item[2], item[3], item[4], item[5]) end
  while open > 0 do
    local events = again(engine.poll, engine, 3)
    for _, event in ipairs(events) do
      local item = event.item
      if not event.retry_in then
        check(not answered[item], item, "answered twice")
        answered[item] = true
        open = open - 1
        if not event.kind then check(as_asked(event, item), item, "a success that is none") end
      end
    end
    check(core.now() < deadline, "hangs with", open, "open, state", engine:stats().state)
    if #events == 0 then engine:wait(0.2) end
  end
end

local function requests(engine)
  local embed = engine:route { method = "POST", fields = { "status", "message", "count" }, status_field = true,
    headers = { "X-Own: 1", "X-Other: 2" }, throttle = { "Throttling", "later" }, denied = { "Arrearage" } }
  local lookup = engine:route { accept = { 404 }, json = true }
  local odd = engine:route { method = "PUT" }
  ask(engine, {
    { embed, "text" }, { embed, "later" }, { embed, "throttled", true }, { embed, "refused" }, { lookup, "missing" }, { odd, "odd" },
    { embed, "landed", true, lookup, url .. "/landed?" .. run },
    { embed, "not_landed", true, lookup, url .. "/missing?" .. run },
  })
  -- So many in a row without an answer make a pause.
  local gone = {}
  for i = 1, 10 do gone[i] = { lookup, "gone" .. i } end
  ask(engine, gone)
end

local function walk(engine)
  local ok, why = engine:walk { root = root, extensions = { "jpg", "png" } }
  if not ok then error("walk: " .. why, 0) end
  local seen, found, trouble = core.idset(), 0, nil
  kept[#kept + 1] = seen
  while true do
    local path, what, _, reason = again(engine.next, engine)
    if path then
      check(seen:add(path), path, "told twice")
      check(seen:has(path), path, "forgotten")
      found = found + 1
    elseif what == "folder" then
      trouble = reason
    elseif what == "end" then
      break
    else
      engine:wait(0.2)
      check(core.now() < deadline, "the walk hangs")
    end
  end
  check(seen:count() == found and seen:bytes() > 0)
  check(trouble or found == tonumber(images), "files lost:", found, "of", images)
  local total, known = engine:total()
  check(known and (trouble or total == found), "total", total, "of", found)
  if trouble then error("walk: " .. trouble, 0) end
end

-- Workers and a second engine, at one bell with the first.
local function beside(engine)
  local second, why = core.engine { probe_url = url .. "/health?" .. run, beside = engine }
  if not second then error(why, 0) end
  kept[#kept + 1] = second
  local workers
  workers, why = core.workers { beside = engine, task = task, threads = 2 }
  if not workers then error(why, 0) end
  kept[#kept + 1] = workers
  local open, told = 5, {}
  kept[#kept + 1] = told
  for i = 1, open do workers:submit("file", i) end
  while open > 0 do
    engine:wait(0.2)
    again(engine.poll, engine)
    for _, event in ipairs(again(workers.poll, workers, 2)) do
      check(not told[event.item], "work", event.item, "told twice")
      told[event.item] = event
      open = open - 1
      if event.kind then
        check(event.kind == "bad_answer" and event.message == "out of memory", event.kind, event.message)
      else
        check(event.vectors[1]:json() == "[1,2]")
      end
    end
    check(core.now() < deadline, "works hang")
  end
  workers:close()
  second:close()
end

local function strings()
  check(core.escape("a b/\255") == "a%20b%2F%FF")
  check(core.unbase64(core.base64("\0\1\2\3")) == "\0\1\2\3")
  check(core.clean("a\nb\255") == "a\\nb\239\191\189")
  check(core.fit("abc", 2) == "ab")
  check(select("#", core.proxy(url, "http://user:password@127.0.0.1:1")) == 3)
end

strings()
local names, why = core.list(root)
if not names then error(why, 0) end
check(#names > 0)
local folder
folder, why = core.sync_folder(root)
if not folder then error(why, 0) end
local engine
engine, why = core.engine { probe_url = url .. "/health?" .. run, max_concurrent = 3, max_retries = 3, retry_delay = 0.001,
  timeout = 5, down_timeout = 1, user_agent = "small", headers = { "X-Every: 1" } }
if not engine then error(why, 0) end
check(tostring(engine):find("open", 1, true))
walk(engine)
requests(engine)
beside(engine)
local stats = again(engine.stats, engine)
if stats.state == "down" then error(stats.reason, 0) end
engine:close()
