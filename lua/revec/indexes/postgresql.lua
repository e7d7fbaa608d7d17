--- PostgreSQL with pgvector, through LuaDBI (Debian: lua-dbi-postgresql), which uses libpq: a password may also come from
-- PGPASSWORD or ~/.pgpass.
--
-- No request is made: `ask` is not used, and every call blocks its thread until the server has answered. A connection that was
-- lost is made anew once in a call. An upsert is one statement, repeatable, on the server's disk when it returns; one wrong record
-- fails it whole.
--
-- A collection is a table TABLE(id, path, tags, mtime, size, embedding), whose comment tells its model; the one that is staged is
-- TABLE_next, the one that is kept TABLE_previous. No index is made for `embedding`, so that search is exact, and a new table has no
-- rights for others: both are to be given after a swap, where they are wanted.

local cjson = require "cjson.safe"
local core = require "revec.core"
local common = require "revec.adapters.common"
local options = require "revec.options"

local unpack = table.unpack or unpack -- luacheck: ignore

local MAX_ID = 512
-- Longer names would be cut by the server: 63 bytes, of which "_previous" takes 9.
local MAX_TABLE = 54

-- What holds unless the URL says otherwise: a server that does not answer is given up, and texts are UTF-8.
local PARAMETERS = "connect_timeout=5&keepalives_idle=10&keepalives_interval=5&keepalives_count=4&tcp_user_timeout=30000"
  .. "&client_encoding=UTF8&application_name=revec"

local Postgresql = { kind = "postgresql", max_records = 1000, max_bytes = 32 * 2 ^ 20, swaps = true }
Postgresql.__index = Postgresql

local function identifier(name)
  return '"' .. name:gsub('"', '""') .. '"'
end

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- The URL without its query, the query as libpq shall have it, and what of it is ours.
local function split(url)
  local base, query = url:match("^([^?]*)%??(.*)$")
  local own, kept = {}, { PARAMETERS }
  for pair in query:gmatch("[^&]+") do
    local key, value = pair:match("^([^=]*)=(.*)$")
    if key == "table" or key == "schema" then own[key] = unescape(value) else kept[#kept + 1] = pair end
  end
  return base, table.concat(kept, "&"), own
end

--- @param settings url: postgresql://USER:PASSWORD@HOST:PORT/DATABASE?table=TABLE&schema=SCHEMA, and whatever else libpq knows;
-- table, schema: where the URL does not say. Without a schema the server's search_path decides
-- @return adapter; or nil and one line: no LuaDBI, no table
local function new(settings)
  if not settings.url then return nil, "url: postgresql://USER@HOST/DATABASE?table=images expected" end
  local there, dbi = pcall(require, "DBI")
  if not there or not pcall(require, "dbd.postgresql") then
    return nil, "postgresql needs LuaDBI with its driver for this Lua: install lua-dbi-postgresql (Debian)"
  end
  local base, query, own = split(settings.url)
  local name, schema = own.table or settings.table, own.schema or settings.schema
  if not name or name == "" then
    return nil, options.redact(base) .. ": a table expected, as postgresql://USER@HOST/DATABASE?table=images"
  end
  if #name > MAX_TABLE then return nil, ("%s: the table's name is %d bytes long: at most %d"):format(core.clean(name), #name, MAX_TABLE) end
  for _, each in ipairs { name, schema } do
    -- LuaDBI would take ? for a parameter.
    if each:find("[%z?]") or not core.is_utf8(each) then
      return nil, core.clean(each) .. ": a table or schema of UTF-8 without '?' expected"
    end
  end
  return setmetatable({
    where = core.clean(options.redact(base) .. "?table=" .. name),
    dbi = dbi, url = base .. "?" .. query,
    name = name, schema = schema and identifier(schema) .. "." or "", suffix = "",
  }, Postgresql)
end

function Postgresql.check_id(_, id)
  if id:find("%z") then return "id has a NUL byte, which PostgreSQL cannot store" end
  return common.check_id(id, MAX_ID)
end

-- ---- statements ----

-- The table of that suffix, or of the collection at work.
function Postgresql:table(suffix)
  return self.schema .. identifier(self.name .. (suffix or self.suffix))
end

-- A text as SQL has it, without a '?' that LuaDBI would take for a parameter.
local function literal(json)
  return "E'" .. json:gsub("?", "\\u003f"):gsub("\\", "\\\\"):gsub("'", "''") .. "'"
end

-- Texts as an array's text; nil stands for what is missing.
local function array(most, text_of)
  local list = {}
  for i = 1, most do
    local text = text_of(i)
    list[i] = text and '"' .. text:gsub('[\\"]', "\\%0") .. '"' or "NULL"
  end
  return "{" .. table.concat(list, ",") .. "}"
end

-- LuaDBI's line without its own words, the severity, and all but the first line.
local function line_of(why)
  return core.clean((tostring(why):match("^[^\n]*"):gsub("^[^:]*: ", "", 1):gsub("%f[%u]%u+:  ", "", 1)))
end

local function failure(line)
  local kind = "backend_error"
  if line:find("permission denied", 1, true) then
    kind = "denied"
  elseif line:find("does not exist", 1, true) then
    kind = "not_found"
  elseif line:find("expected %d+ dimensions") then
    kind = "rejected"
  end
  return { kind = kind, message = line, attempts = 1 }
end

local function try(connection, sql, ...)
  local statement, why = connection:prepare(sql)
  if not statement then error(why, 0) end
  local done
  done, why = statement:execute(...)
  if not done then error(why, 0) end
  local rows = {}
  for row in statement:rows() do rows[#rows + 1] = row end
  statement:close()
  return rows
end

-- Runs one statement: array of rows, or nil and one line.
function Postgresql:execute(sql, ...)
  -- LuaDBI would not survive a statement on a connection that it knows to be broken.
  if not self.connection:ping() then return nil, "the connection was lost" end
  local done, rows = pcall(try, self.connection, sql, ...)
  if done then return rows end
  return nil, line_of(rows)
end

-- A connection; or nil and a failure.
function Postgresql:connect()
  if self.connection and self.connection:ping() then return true end
  self:close()
  local called, connection = pcall(self.dbi.Connect, "PostgreSQL", self.url)
  if not called then return nil, { kind = "rejected", message = line_of(connection), attempts = 1 } end
  -- LuaDBI has lost libpq's reason by now.
  if not connection then
    return nil, { kind = "unreachable", attempts = 1, message = "no connection to " .. self.where
      .. ": it is not there, or refuses this user, password or database (psql tells which)" }
  end
  self.connection = connection
  connection:autocommit(true)
  self:execute("SET client_min_messages = warning") -- libpq would print notices
  return true
end

-- Does work(self), which gives nil and a line where a statement has failed; once more on a new connection when that was lost, unless it is
-- to be done once only.
function Postgresql:run(work, once)
  local line
  for _ = 1, once and 1 or 2 do
    local connected, why = self:connect()
    if not connected then return nil, why end
    local result
    result, line = work(self)
    if result then return result end
    if self.connection:ping() then
      self:execute("DEALLOCATE ALL") -- LuaDBI leaves a statement that failed behind on the server
      return nil, failure(line)
    end
  end
  return nil, { kind = "unreachable", message = line, attempts = 1 }
end

function Postgresql:statement(sql, ...)
  local values, count = { ... }, select("#", ...)
  return self:run(function() return self:execute(sql, unpack(values, 1, count)) end)
end

-- Statements that are done all or not at all.
function Postgresql:transaction(statements, once)
  return self:run(function()
    local done, why = self:execute("BEGIN")
    for _, sql in ipairs(statements) do
      if done then done, why = self:execute(sql) end
    end
    if done then done, why = self:execute("COMMIT") end
    if done then return true end
    self:execute("ROLLBACK")
    return nil, why
  end, once)
end

-- ---- the contract ----

-- What there is under a suffix: { comment, type of the vectors }; nil when there is no such table; nil and a failure.
function Postgresql:look(suffix)
  local rows, why = self:statement([[
    SELECT coalesce(obj_description(c.oid, 'pg_class'), ''), coalesce(format_type(a.atttypid, a.atttypmod), '')
    FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'embedding' AND NOT a.attisdropped
    WHERE c.oid = to_regclass($1)]], self:table(suffix))
  return rows and rows[1], why
end

function Postgresql:info()
  local found, why = self:look()
  if not found then return nil, why end
  local told = cjson.decode(found[1])
  return {
    model = common.at(told, "model"),
    dimension = tonumber(found[2]:match("vector%((%d+)%)")),
    distance = common.at(told, "distance"),
  }
end

function Postgresql:create(_, info)
  local name = self:table()
  return self:transaction {
    "CREATE EXTENSION IF NOT EXISTS vector",
    ([[CREATE TABLE %s (id text COLLATE "C" PRIMARY KEY, path text, tags text[], mtime double precision, size bigint,
      embedding vector(%d) NOT NULL)]]):format(name, info.dimension),
    ("COMMENT ON TABLE %s IS %s"):format(name, literal(cjson.encode { model = info.model, distance = info.distance })),
  }
end

function Postgresql:find(_, ids)
  local rows, why = self:statement("SELECT id FROM " .. self:table() .. " WHERE id = ANY($1::text[])", array(#ids, function(i)
    return not self:check_id(ids[i]) and ids[i] or nil
  end))
  if not rows then return nil, why end
  local found = {}
  for _, row in ipairs(rows) do found[row[1]] = true end
  return found
end

function Postgresql:put(_, records)
  local function column(text_of)
    return array(#records, function(i) return text_of(records[i]) end)
  end
  local stored, why = self:statement("INSERT INTO " .. self:table() .. [[ (id, path, tags, mtime, size, embedding)
      SELECT id, path, string_to_array(tags, ','), mtime, size, embedding::vector
      FROM unnest($1::text[], $2::text[], $3::text[], $4::double precision[], $5::bigint[], $6::text[])
        AS r(id, path, tags, mtime, size, embedding)
      ON CONFLICT (id) DO UPDATE SET path = excluded.path, tags = excluded.tags, mtime = excluded.mtime, size = excluded.size,
        embedding = excluded.embedding]],
    column(function(record) return record.id end),
    column(function(record) return core.clean(record.path, true) end),
    column(function(record) return record.tags and core.clean(record.tags, true) end),
    column(function(record) return record.mtime and ("%.17g"):format(record.mtime) end),
    column(function(record) return record.size and ("%.0f"):format(record.size) end),
    column(function(record) return record.vector:json() end))
  if not stored then return nil, why end
  return {}
end

function Postgresql:count()
  local rows, why = self:statement("SELECT count(*)::text FROM " .. self:table())
  return rows and tonumber(rows[1][1]), why
end

function Postgresql:search(_, vector, top)
  local rows, why = self:statement(("SELECT id, path, 1 - (embedding <=> $1::vector) FROM %s ORDER BY embedding <=> $1::vector LIMIT %d")
    :format(self:table(), top), vector:json())
  if not rows then return nil, why end
  local hits = {}
  for i, row in ipairs(rows) do hits[i] = { id = row[1], path = row[2], score = row[3] } end
  return hits
end

function Postgresql:drop()
  local dropped, why = self:statement("DROP TABLE IF EXISTS " .. self:table())
  return dropped and true, why
end

function Postgresql:stage()
  self.suffix = "_next"
  return self:drop()
end

local function rename(from, to)
  return ("ALTER TABLE IF EXISTS %s RENAME TO %s"):format(from, to)
end

-- Not done again when the connection is lost: the server may have done it.
function Postgresql:swap()
  local staged, why = self:look("_next")
  if not staged then return nil, why or failure(self.where .. ": no staged table (" .. self.name .. "_next) is there to swap in") end
  local done
  done, why = self:transaction({
    "DROP TABLE IF EXISTS " .. self:table("_previous"),
    rename(self:table(""), identifier(self.name .. "_previous")),
    rename(self:table("_next"), identifier(self.name)),
  }, true)
  if not done then return nil, why end
  self.suffix = ""
  return true
end

function Postgresql:rollback()
  local kept, why = self:look("_previous")
  if not kept then return nil, why or failure(self.where .. ": no earlier table (" .. self.name .. "_previous) is kept to go back to") end
  return self:transaction({
    rename(self:table(""), identifier(self.name .. "_parting")),
    rename(self:table("_previous"), identifier(self.name)),
    rename(self:table("_parting"), identifier(self.name .. "_previous")),
  }, true)
end

function Postgresql:close()
  if self.connection then self.connection:close() end
  self.connection = nil
end

return { new = new }
