--- Engines as the transport options ask for them: what of a request does not depend on the service that it goes to.

local core = require "revec.core"
local settings = require "revec.options"

local M = {}

--- The request headers of all requests.
-- @param header array of "Name: value", or nil
-- @param token_env the environment variable that holds a bearer token, or nil
-- @return array; or nil and one line: which option is wrong
function M.headers(header, token_env)
  local headers = {}
  for i, text in ipairs(header or {}) do
    if not text:find("^[%w!#$%%&'*+.^_`|~-]+:") then
      -- Not shown: it may be a token that was meant to have a name before it.
      return nil, "header: 'Name: value' expected in header " .. i
    end
    headers[i] = text
  end
  if not token_env then return headers end
  local token, why = M.token(token_env)
  if not token then return nil, why end
  headers[#headers + 1] = "Authorization: Bearer " .. token
  return headers
end

--- The token that an environment variable holds; or nil and one line.
function M.token(token_env)
  local token = os.getenv(token_env)
  if not token or token == "" then
    return nil, "token_env: the environment variable " .. token_env .. " is not set"
  elseif token:find("%c") then
    return nil, "token_env: the value of " .. token_env .. " holds a control character"
  end
  return token
end

--- The proxy that requests for a URL go through, without its password.
-- @param options as options.resolve gives them
-- @return string; nil when there is none; nil and one line when libcurl cannot use it
function M.proxy(options, url)
  if options.unix_socket then return nil end
  local proxy, variable, usable = core.proxy(url, options.proxy)
  if not proxy then return nil end
  proxy = settings.redact(proxy)
  if not usable then
    return nil, (variable or "proxy") .. ": a proxy that libcurl can use expected, got " .. settings.show(proxy)
  end
  return proxy
end

-- What libcurl takes from a file: as the file names it, and as we do.
local CERTIFICATE, KEY = { "CERTIFICATE", "a certificate" }, { "PRIVATE KEY", "a private key" }
local files = { cacert = CERTIFICATE, cert = CERTIFICATE, key = KEY }
local FILE_BYTES = 2 ^ 24

-- One line when the file holds no such thing: libcurl would tell of it with the first request, as of a backend out of reach,
-- and ask the terminal for a passphrase.
local function unfit(path, wish)
  local text
  local file, why = io.open(path, "rb")
  if file then
    text, why = file:read(FILE_BYTES)
    file:close()
  end
  local function told(what) return core.clean(path) .. ": " .. what end
  if not text then return told(core.clean(why or "empty"):gsub("^.*: ", "")) end
  if not text:find("-----BEGIN [%u ]*" .. wish[1] .. "-----") then return told(wish[2] .. " in PEM form expected") end
  if wish == KEY and text:find("ENCRYPTED", 1, true) then return told("a private key without a passphrase expected") end
end

-- One line when an option's file is missing, or is none of its kind.
local function wrong_file(options)
  for _, name in ipairs { "cacert", "cert", "key", "unix_socket" } do
    local path = options[name]
    local why = path and not core.stat(path) and core.clean(path) .. ": no such file"
      or path and files[name] and unfit(path, files[name])
    if why then return name .. ": " .. why end
  end
  if options.key and not options.cert then return "cert: expected with key" end
  -- One file may hold both.
  local why = options.cert and not options.key and unfit(options.cert, KEY)
  return why and "cert: " .. why .. ", or the option key"
end

--- An engine for one service.
-- @param options as options.resolve gives them
-- @param service probe_url, headers, max_concurrent, adaptive, beside: as core.engine has them
-- @return engine; or nil and one line: which option's file is missing, which proxy is no use, or what of the system
function M.engine(options, service)
  local why = wrong_file(options)
  if why then return nil, why end
  why = select(2, M.proxy(options, service.probe_url))
  if why then return nil, why end
  return core.engine {
    probe_url = service.probe_url, headers = service.headers, max_concurrent = service.max_concurrent,
    adaptive = service.adaptive, beside = service.beside, user_agent = "revec/" .. core.version,
    max_retries = options.max_retries, retry_delay = options.retry_delay, timeout = options.timeout,
    connect_timeout = options.connect_timeout, down_timeout = options.down_timeout, rate = options.rate,
    cacert = options.cacert, cert = options.cert, key = options.key, insecure = options.insecure, proxy = options.proxy,
    unix_socket = options.unix_socket, http2 = options.http2, nice = options.nice,
  }
end

return M
