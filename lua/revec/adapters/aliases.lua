--- Building beside and switching in one step, for the indexes of services that have aliases.
--
-- A collection NAME is an alias of NAME_1, NAME_2 and so on; NAME_staged is an alias of the one that is being built, NAME_previous of
-- the one that was live before. So the service itself remembers what is what, and nothing without one of these aliases is
-- ever dropped, whatever its name.
--
-- An adapter has `collection` (NAME), `target` (the name that its requests are to use: it is changed here) and these methods:
--
--   adapter:names(ask) → { collections = { [name] = true }, aliases = { [alias] = collection } }, or nil, failure
--   adapter:make(ask, name, info) → true, or nil, failure        makes a collection of that very name
--   adapter:switch(ask, moves) → true, or nil, failure           array of { alias =, from = (nil: is not there), to = (nil: goes away) }
--   adapter:remove(ask, name) → true, or nil, failure            drops the collection of that very name, which has no alias

local common = require "revec.adapters.common"

local M = {}

local function roles(self, names)
  local aliases = names.aliases
  return aliases[self.collection], aliases[self.collection .. "_staged"], aliases[self.collection .. "_previous"]
end

-- Takes an alias away, and what it stood for, unless another of ours stands for it too.
local function release(self, ask, names, alias)
  local name = names.aliases[alias]
  local ok, failure = self:switch(ask, { { alias = alias, from = name } })
  if not ok then return nil, failure end
  names.aliases[alias] = nil
  local live, staged, previous = roles(self, names)
  if name == live or name == staged or name == previous then return true end
  return self:remove(ask, name)
end

local function create(self, ask, info)
  local names, failure = self:names(ask)
  if not names then return nil, failure end
  if names.collections[self.target] or names.aliases[self.target] then
    return nil, common.refusal(self.target .. " is there already")
  end
  local number = 1
  while names.collections[self.collection .. "_" .. number] or names.aliases[self.collection .. "_" .. number] do
    number = number + 1
  end
  local name = self.collection .. "_" .. number
  local ok
  ok, failure = self:make(ask, name, info)
  if not ok then return nil, failure end
  return self:switch(ask, { { alias = self.target, to = name } })
end

local function drop(self, ask)
  local names, failure = self:names(ask)
  if not names then return nil, failure end
  if names.aliases[self.target] then return release(self, ask, names, self.target) end
  return not names.collections[self.target] or self:remove(ask, self.target)
end

local function stage(self, ask)
  local names, failure = self:names(ask)
  if not names then return nil, failure end
  local staged = self.collection .. "_staged"
  for _, name in ipairs { self.collection, staged } do
    if names.collections[name] then
      return nil, common.refusal(name .. " is a collection of its own, no alias, so that no other can take its place in one step: "
        .. "rebuild it once without --swap, or give another name")
    end
  end
  if names.aliases[staged] then
    local ok
    ok, failure = release(self, ask, names, staged)
    if not ok then return nil, failure end
  end
  self.target = staged
  return true
end

local function swap(self, ask)
  local names, failure = self:names(ask)
  if not names then return nil, failure end
  local live, staged, previous = roles(self, names)
  if not staged then return nil, common.refusal("nothing is staged for " .. self.collection) end
  -- In this order for services that take the moves one by one: what is live is kept before it is no longer live.
  local moves = {}
  if live and live ~= previous then moves[1] = { alias = self.collection .. "_previous", from = previous, to = live } end
  moves[#moves + 1] = { alias = self.collection, from = live, to = staged }
  moves[#moves + 1] = { alias = self.collection .. "_staged", from = staged }
  local ok
  ok, failure = self:switch(ask, moves)
  if not ok then return nil, failure end
  self.target = self.collection
  if not (live and previous) or previous == live then return true end
  ok, failure = self:remove(ask, previous)
  if not ok then failure.message = ("switched, but %s, kept until now, is still there: %s"):format(previous, failure.message) end
  return ok, failure
end

local function rollback(self, ask)
  local names, failure = self:names(ask)
  if not names then return nil, failure end
  local live, _, previous = roles(self, names)
  if not previous or previous == live then
    return nil, common.refusal("nothing is kept of before that " .. self.collection .. " could be rolled back to")
  end
  return self:switch(ask, {
    { alias = self.collection, from = live, to = previous },
    { alias = self.collection .. "_previous", from = previous, to = live },
  })
end

--- Gives an adapter's class its create, drop, stage, swap and rollback.
-- @param class table of methods
function M.extend(class)
  class.swaps = true
  class.create, class.drop, class.stage, class.swap, class.rollback = create, drop, stage, swap, rollback
end

return M
