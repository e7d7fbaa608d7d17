-- Certificates for TLS specs, made by the openssl command in a folder of the caller's.

local process = require("spec.support.process")

local certificates = {}

local OPENSSL_SECONDS = 20

local function openssl(dir, ...)
  local log = dir .. "/openssl.log"
  local child = process.spawn { command = { "openssl", ... }, cwd = dir, stdout = log .. ".out", stderr = log }
  if not child:wait(OPENSSL_SECONDS) then child:kill() end
  if child.code ~= 0 then error("openssl " .. (...) .. ": " .. process.read(log), 3) end
end

local function make(dir, name, names, days)
  local cert, key, wish = dir .. "/" .. name .. ".pem", dir .. "/" .. name .. ".key", dir .. "/" .. name .. ".csr"
  openssl(dir, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
    "-keyout", key, "-out", wish, "-subj", "/CN=revec spec " .. name, "-addext", "subjectAltName=" .. names)
  openssl(dir, "x509", "-req", "-in", wish, "-CA", dir .. "/ca.pem", "-CAkey", dir .. "/ca.key", "-CAcreateserial",
    "-days", days, "-copy_extensions", "copy", "-out", cert)
  return { cert = cert, key = key }
end

-- Returns { ca = path, good = pair, expired = pair, wrong_host = pair, self_signed = pair }; a pair is
-- { cert = path, key = path }, ready for server.start's options.tls. All but self_signed are signed by `ca`.
function certificates.make(dir)
  local ours = "IP:127.0.0.1,DNS:localhost"
  local function self_signed(name, ...)
    local pair = { cert = dir .. "/" .. name .. ".pem", key = dir .. "/" .. name .. ".key" }
    openssl(dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
      "-keyout", pair.key, "-out", pair.cert, "-subj", "/CN=revec spec " .. name, ...)
    return pair
  end
  return {
    ca = self_signed("ca").cert,
    good = make(dir, "good", ours, "30"),
    -- Its last day is the day before it was made.
    expired = make(dir, "expired", ours, "-1"),
    wrong_host = make(dir, "wrong_host", "DNS:elsewhere.invalid", "30"),
    self_signed = self_signed("self_signed", "-addext", "subjectAltName=" .. ours),
  }
end

return certificates
