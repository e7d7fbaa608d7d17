--- What is asked of an index outside a rebuild. Each function opens the services, asks, and blocks until it is answered.

local adapters = require "revec.adapters"
local core = require "revec.core"
local services = require "revec.services"

local M = {}

-- Runs body(ask of the index, its adapter, embed) to its end, where embed(image) gives a vector; its results.
local function converse(options, wants_embedder, body)
  local index, why = adapters.index(options)
  if not index then return nil, why end
  local embedder
  if wants_embedder then
    embedder, why = adapters.embedder(options)
    if not embedder then return nil, why end
  end
  local engine
  engine, why = core.engine { probe_url = "http://localhost" }
  if not engine then return nil, why end
  local open, results = {}, nil
  local function serve(adapter)
    local service
    service, why = services.open(adapter, options, 1, engine)
    open[#open + 1] = service
    return service
  end
  local at = serve(index)
  local by = at and embedder and serve(embedder)
  local function wait_for(service, talk_body)
    local done
    service:start({}, talk_body, function(...) done = { ... } end)
    while not done do
      engine:poll()
      if not service:poll(function() end) then engine:wait(60) end
    end
    return done[1], done[2]
  end
  if not why then
    results = { body(function(talk_body) return wait_for(at, talk_body) end, index,
      function(image) return wait_for(by, function(ask) return embedder:embed(ask, { image }) end) end, embedder) }
  end
  for _, service in ipairs(open) do service:close() end
  engine:close()
  if why then return nil, why end
  return results[1], results[2]
end

local function line(adapter, failure)
  if failure.message:find(adapter.where, 1, true) == 1 then return failure.message end
  return adapter.where .. ": " .. failure.message
end

--- The images of the index that are most like a file, best first.
-- @param options as options.resolve gives them
-- @param image an image (image.lua)
-- @param top how many
-- @return array of { id, path, score }, score being the cosine; or nil and one line
function M.search(options, image, top)
  return converse(options, true, function(ask, index, embed, embedder)
    local info, failure = ask(function(a) return index:info(a) end)
    if failure then return nil, line(index, failure) end
    if not info then return nil, index.where .. ": there is no such index" end
    if info.model and info.model ~= embedder.model then
      return nil, string.format("%s: its vectors are of %s, the embedder's of %s: name its own with --embedder", index.where,
        core.clean(info.model), core.clean(embedder.model))
    end
    local vectors, why = embed(image)
    if not vectors then return nil, image.path .. ": " .. line(embedder, why) end
    if not vectors[1] then return nil, image.path .. ": " .. embedder.where .. ": no use as a vector: " .. (why or "none came") end
    local hits
    hits, failure = ask(function(a) return index:search(a, vectors[1], top) end)
    return hits, failure and line(index, failure)
  end)
end

--- What there is at the index.
-- @return { where, count }, count nil when there is no such collection; or nil and one line
function M.look(options)
  return converse(options, false, function(ask, index)
    local info, failure = ask(function(a) return index:info(a) end)
    local count
    if info then count, failure = ask(function(a) return index:count(a) end) end
    if failure then return nil, line(index, failure) end
    return { where = index.where, count = count }
  end)
end

--- Switches back to what the last swap replaced, in one step.
-- @return where it was done; or nil and one line
function M.rollback(options)
  return converse(options, false, function(ask, index)
    if not index.swaps then return nil, "rollback: " .. index.no_swap end
    local done, failure = ask(function(a) return index:rollback(a) end)
    return done and index.where, failure and line(index, failure)
  end)
end

return M
