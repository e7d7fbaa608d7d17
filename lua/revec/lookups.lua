--- How it is found out what is indexed: by asking for each image, for a group of them at once, or by listing the index.
--
-- Groups (check = "batch") hold batch_size images, at most 100. One that fails is asked image by image, so a backend
-- without that route, or an id that it does not take, costs a request and loses nothing. The list (check = "list") is read
-- before any image is taken. "auto" begins with groups and reads the list once many images are to come; when that
-- fails, it goes on with groups.

local core = require "revec.core"

local Lookups = {}
Lookups.__index = Lookups

local GROUP_IDS = 100
local GROUP_BYTES = 7000                 -- of the ids in a URL; the last one may go beyond
local GROUPS_FAIL = 3                    -- so many in a row: no more of them
local PAGE = 1000                        -- records of one page of the list
local MANY = 1000                        -- images taken, and as many to come: worth a list
local LISTED_PER_IMAGE = 10              -- a list longer than this is not worth it, or endless …
local LISTED_AT_LEAST = { auto = 10000, list = 1000000 } -- … from so many ids on
local LISTED = 2                         -- mark in the set of ids; 1: taken

--- @param engine, backend, routes (numbers by name)
-- @param options check, batch_size
-- @param ids core.idset(): ids that are listed get mark 2 in it
local function new(engine, backend, routes, options, ids)
  return setmetatable({
    engine = engine, backend = backend, routes = routes, ids = ids, check = options.check,
    in_groups = options.check ~= "each",
    group_size = math.min(options.batch_size, GROUP_IDS),
    groups = {},          -- by stage: images that are gathered
    groups_failed = 0,    -- in a row
    odd_alone = false,    -- ids that an index may not take in bulk are asked by themselves
    wants_list = options.check == "auto" or options.check == "list",
    listed = 0,           -- ids
    listing = nil,        -- the page that is being asked for
    complete = false,     -- the list is known
  }, Lookups)
end

-- ---- asking for images ----

function Lookups:ask_alone(image)
  self.engine:submit(self.routes.lookup, self.backend:lookup_url(image), image, image.stage == "verify")
end

--- Asks whether the image is indexed: at once, or with others when its group is full.
-- @return whether a request was made
function Lookups:ask(image)
  if not self.in_groups or (self.odd_alone and not self.backend.bulk_id(image.id)) then
    self:ask_alone(image)
    return true
  end
  local group = self.groups[image.stage]
  if not group then
    group = { stage = "group", images = {}, ids = {}, bytes = 0 }
    self.groups[image.stage] = group
  end
  local id = core.escape(image.id)
  local n = #group.images + 1
  group.images[n], group.ids[n] = image, id
  group.bytes = group.bytes + #"&ids=" + #id
  if n < self.group_size and group.bytes < GROUP_BYTES then return false end
  self:flush(image.stage)
  return true
end

--- Asks for what is gathered, full or not.
-- @param stage "lookup" or "verify"
function Lookups:flush(stage)
  local group = self.groups[stage]
  if not group then return end
  self.groups[stage] = nil
  if #group.images == 1 then return self:ask_alone(group.images[1]) end
  group.id = group.images[1].id .. " …" -- for the log
  self.engine:submit(self.routes.lookup_many, self.backend:lookup_many_url(group.ids), group, stage == "verify")
end

--- How many images of a stage are gathered.
function Lookups:gathered(stage)
  local group = self.groups[stage]
  return group and #group.images or 0
end

--- What a group's good answer says: a function that tells of an image whether it is indexed.
function Lookups:answered(event)
  self.groups_failed = 0
  local found = {}
  for _, id in ipairs(event.list) do found[id] = true end
  return function(image) return found[image.id] or found[self.backend.bulk_id(image.id)] or false end
end

--- A group has failed: its images are asked one by one.
-- @return true when from here on all are
function Lookups:split(group, event)
  local odd = false
  for _, image in ipairs(group.images) do
    odd = odd or not self.backend.bulk_id(image.id)
    self:ask_alone(image)
  end
  if odd and not self.odd_alone then
    self.odd_alone = true
    return false
  end
  self.groups_failed = self.groups_failed + 1
  if event.status ~= 404 and event.status ~= 405 and self.groups_failed < GROUPS_FAIL then return false end
  local first = self.in_groups
  self.in_groups = false
  return first
end

-- ---- the list ----

--- Whether the list should be read now, before further images are taken.
-- @param taken images so far
-- @param found images found so far
function Lookups:list_is_due(taken, found)
  if self.complete or self.listing or not self.wants_list then return false end
  return self.check == "list" or taken >= MANY and found - taken >= MANY
end

--- Asks for the list's next page, its first to begin with.
function Lookups:ask_page()
  local page = self.listing or { stage = "list", number = 0 }
  page.number = page.number + 1
  page.id = tostring(page.number) -- for the log
  self.listing = page
  self.engine:submit(self.routes.list, self.backend:list_url(PAGE, page.last), page)
end

--- A page has come, or failed for good.
-- @param found images so far
-- @return nil, or why there is no list
function Lookups:turn_page(event, found)
  local list, before, why = event.list, self.listed, nil
  if event.kind then
    why = self.backend.reason(event)
  else
    for i = 1, #list do
      if self.ids:add(list[i], LISTED) then self.listed = self.listed + 1 end
    end
    if #list < PAGE then
      self.complete, self.listing = true, nil
    elseif self.listed == before then
      why = "page " .. self.listing.number .. " holds nothing new"
    elseif self.listed > math.max(LISTED_AT_LEAST[self.check], LISTED_PER_IMAGE * found) then
      why = string.format("%d ids and no end, for %d images", self.listed, found)
    else
      self.listing.last = list[#list]
      self:ask_page()
    end
  end
  if why then self.wants_list, self.listing = false, nil end
  return why
end

--- Whether the list says that the id is indexed. Only once it is complete.
function Lookups:is_listed(id)
  if self.ids:has(id, LISTED) then return true end
  local told = self.backend.bulk_id(id)
  return told ~= nil and told ~= id and self.ids:has(told, LISTED)
end

return { new = new }
