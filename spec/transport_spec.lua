-- TLS, proxies, sockets: the real command over real ones on loopback.
local certificates = require "spec.support.certificates"
local harness = require "spec.support.harness"
local server = require "spec.support.server"

local unpack = table.unpack or unpack -- luacheck: ignore

local handler = [[return function(request, reply)
  if request.method == "GET" then return reply.not_indexed() end
  reply.embedding(request.id)
end]]

local function run(url, args, env)
  local all = { "--storage-path", harness.tree { "a.jpg", "b.jpg" }, "--api-url", url }
  for _, argument in ipairs(args or {}) do all[#all + 1] = argument end
  local environment = { LC_ALL = "C", http_proxy = false, https_proxy = false, all_proxy = false, no_proxy = false,
                        HTTPS_PROXY = false, ALL_PROXY = false, NO_PROXY = false }
  for key, value in pairs(env or {}) do environment[key] = value end
  local result = harness.run { args = all, env = environment, timeout = 20 }
  result.succeeded = tonumber(result.stderr:match("INFO %- Succeeded: (%d+)\n"))
  return result
end

describe("over TLS", function()
  local pem, s
  setup(function() pem = certificates.make(harness.tempdir()) end)
  teardown(harness.cleanup)
  after_each(function() s:stop() end)

  local function serve(certificate)
    s = server.start(handler, { tls = certificate })
    return (s.url:gsub("^http:", "https:"):gsub("127%.0%.0%.1", "localhost"))
  end

  it("a server whose certificate is signed by --cacert is trusted", function()
    local result = run(serve(pem.good), { "--cacert", pem.ca })
    assert.same({ 0, 2 }, { result.code, result.succeeded }, result.output)
  end)

  for _, name in ipairs { "expired", "wrong_host", "self_signed" } do
    it("a certificate that is " .. name:gsub("_", " ") .. " ends the run at once, with nothing sent and none failed", function()
      local result = run(serve(pem[name]), { "--cacert", pem.ca })
      assert.equal(3, result.code, result.output)
      assert.matches("Backend out of reach %(https://localhost:%d+%): SSL[^\n]*certificate", result.stderr)
      assert.matches("Failed: 0\n.*Pending: 2\n", result.stderr)
      assert.equal(0, #s:requests())
    end)
  end

  it("--insecure takes any certificate, and only when asked", function()
    assert.equal(2, run(serve(pem.self_signed), { "--insecure" }).succeeded)
  end)

  it("an answer is whole by its length, though the connection ends without a farewell", function()
    s = server.start(handler, { tls = { cert = pem.good.cert, key = pem.good.key, close_notify = false }, requests_per_connection = 1 })
    local result = run((s.url:gsub("^http:", "https:")), { "--insecure" })
    assert.same({ 0, 2 }, { result.code, result.succeeded }, result.output)
    assert.is_nil(result.stderr:find("Retries", 1, true))
  end)

  it("a handshake that is broken off is no attempt of any image", function()
    s = server.start(handler .. ", function(connection, reply) reply.close() end", { tls = pem.good })
    local result = run((s.url:gsub("^http:", "https:")), { "--insecure" })
    assert.equal(3, result.code)
    assert.matches("Failed: 0\n", result.stderr)
  end)
end)

describe("a server that wants our certificate", function()
  local pem, s, dir
  setup(function()
    dir = harness.tempdir()
    pem = certificates.make(dir)
    harness.write(dir .. "/empty.pem", "")
    harness.write(dir .. "/both.pem", harness.read(pem.good.cert) .. harness.read(pem.good.key))
    harness.write(dir .. "/locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIH=\n-----END ENCRYPTED PRIVATE KEY-----\n")
  end)
  local function serve(protocol)
    if s then s:stop() end
    s = server.start(handler, { tls = { cert = pem.good.cert, key = pem.good.key, client_ca = pem.ca, protocol = protocol } })
  end
  before_each(function() serve("tlsv1_2") end)
  after_each(function() s:stop() end)
  teardown(harness.cleanup)

  it("is given that of --cert and --key, or of --cert alone where it holds the key", function()
    for _, args in ipairs { { "--cert", pem.wrong_host.cert, "--key", pem.wrong_host.key }, { "--cert", dir .. "/both.pem" } } do
      local result = run(s.url, { "--cacert", pem.ca, unpack(args) })
      assert.same({ 0, 2 }, { result.code, result.succeeded }, result.output)
    end
  end)

  -- name, args, what the line says, the protocol: of TLS 1.3 a client's handshake is over before its certificate is judged
  local refused = {
    { "none", {}, "alert handshake failure" },
    { "none", {}, "alert certificate required", "any" },
    { "one that it does not trust", { "--cert", "self_signed.pem", "--key", "self_signed.key" }, "alert unknown ca" },
    { "one that it does not trust", { "--cert", "self_signed.pem", "--key", "self_signed.key" }, "alert unknown ca", "any" },
    { "one that has expired", { "--cert", "expired.pem", "--key", "expired.key" }, "alert certificate expired", "any" },
    { "one with the key of another", { "--cert", "good.pem", "--key", "expired.key" }, "private key file: '[^']*/expired%.key'" },
  }
  for _, case in ipairs(refused) do
    it("ends the run with 3 and one line, with nothing done and none failed, when it is given " .. case[1] .. (case[4] and ", by TLS 1.3" or ""), function()
      if case[4] then serve(case[4]) end
      for i = 2, #case[2], 2 do case[2][i] = dir .. "/" .. case[2][i] end
      local result = run(s.url, { "--cacert", pem.ca, unpack(case[2]) })
      assert.equal(3, result.code, result.output)
      local lines = {}
      for line in result.stderr:gmatch("ERROR %- ([^\n]*)") do lines[#lines + 1] = line end
      assert.equal(1, #lines, result.output)
      assert.matches("^Backend out of reach %(https://[%d.:]+%): .*" .. case[3], lines[1])
      assert.matches("Failed: 0\n.*Pending: 2\n", result.stderr)
      assert.equal(0, #s:requests())
    end)
  end

  it("is not asked at all with files that are no certificate and key", function()
    local wrong = {
      { { "--cacert", "." }, "--cacert: %s/.: Is a directory" },
      { { "--cacert", "empty.pem" }, "--cacert: %s/empty.pem: empty" },
      { { "--cert", "good.key", "--key", "good.key" }, "--cert: %s/good.key: a certificate in PEM form expected" },
      { { "--cert", "good.pem", "--key", "good.pem" }, "--key: %s/good.pem: a private key in PEM form expected" },
      { { "--cert", "good.pem", "--key", "locked.key" }, "--key: %s/locked.key: a private key without a passphrase expected" },
      { { "--cert", "good.pem", "--key", "none.key" }, "--key: %s/none.key: no such file" },
      { { "--cert", "good.pem" }, "--cert: %s/good.pem: a private key in PEM form expected, or the option key" },
      { { "--key", "good.key" }, "--cert: expected with key" },
    }
    for _, case in ipairs(wrong) do
      for i = 2, #case[1], 2 do case[1][i] = dir .. "/" .. case[1][i] end
      local result = run(s.url, case[1])
      assert.equal(2, result.code, result.output)
      assert.equal("revec: " .. case[2]:format(dir) .. "\n", result.output)
    end
    assert.equal(0, s:connections())
  end)
end)

describe("over a Unix socket", function()
  teardown(harness.cleanup)

  it("--unix-socket reaches the server, whatever the URL's host and the environment's proxy", function()
    local path = harness.tempdir() .. "/s"
    local s = server.start(handler, { unix = path })
    local result = run("http://backend.invalid", { "--unix-socket", path }, { http_proxy = "http://h:99999" })
    assert.same({ 0, 2 }, { result.code, result.succeeded }, result.output)
    assert.is_nil(result.output:find("proxy", 1, true))
    assert.equal("backend.invalid", s:requests()[1].headers.host)
    s:stop()
  end)
end)

describe("through a proxy", function()
  local proxy
  before_each(function() proxy = server.start(handler) end)
  after_each(function()
    proxy:stop()
    harness.cleanup()
  end)

  it("--proxy sends everything there, and its password nowhere else", function()
    local result = run("http://backend.invalid:81", { "--proxy", (proxy.url:gsub("//", "//me:hunter2@")) })
    assert.same({ 0, 2 }, { result.code, result.succeeded }, result.output)
    assert.matches("^http://backend%.invalid:81/api/v1/", proxy:requests()[1].target)
    assert.is_string(proxy:requests()[1].headers["proxy-authorization"])
    assert.is_nil(result.output:find("hunter2", 1, true))
    assert.matches("Using proxy: http://%*%*%*@127", result.stderr)
  end)

  it("one of the environment is obeyed and told of", function()
    local result = run("http://backend.invalid", {}, { http_proxy = proxy.url })
    assert.equal(2, result.succeeded, result.output)
    assert.matches("INFO %- Using proxy: " .. proxy.url:gsub("%p", "%%%0"), result.stderr)
  end)

  it("is told of where it is used, and only there", function()
    proxy:stop()
    proxy = server.start "return function(request, reply) reply.send(403, {}, 'no') end"
    local p = proxy.url
    local gone = "http://127.0.0.1:" .. harness.free_port()
    for _, case in ipairs {
      { "http://backend.invalid", {}, { ALL_PROXY = p }, true },
      { "https://127.0.0.1:1", {}, { HTTPS_PROXY = p, http_proxy = gone }, true },
      { gone, {}, { https_proxy = p, HTTP_PROXY = p }, false },
      { gone, { "--proxy", p }, { no_proxy = "127.0.0.1" }, false },
      { gone, { "--direct", "--embedder", "http://backend.invalid/e", "--index", "qdrant+http://127.0.0.1:1/c" },
        { http_proxy = p, no_proxy = "127.0.0.1" }, true },
      { gone, { "--direct", "--embedder", gone, "--max-retries", "0", "--index", "qdrant+" .. gone .. "/c" }, { http_proxy = p, no_proxy = "*" }, false },
      { gone, { "--direct" }, { http_proxy = p }, false },
      { gone, { "--dry-run" }, { http_proxy = p }, false },
    } do
      local result = run(case[1], case[2], case[3])
      local told = select(2, result.stderr:gsub("INFO %- Using proxy: " .. p:gsub("%p", "%%%0") .. "\n", ""))
      assert.equal(case[4] and 1 or 0, told, result.output)
      assert.equal(told, select(2, result.stderr:gsub("proxy:", "")), result.output)
    end
  end)

  it("that libcurl cannot use is wrong use, told without its password", function()
    for _, case in ipairs {
      { { "--proxy", "ftp://me:hunter2@h:1" }, {}, '--proxy: a proxy that libcurl can use expected, got "ftp://***@h:1"' },
      { { "--proxy", "http://me:hun/ter2@h" }, {}, '--proxy: a proxy that libcurl can use expected, got "http://***@h"' },
      { {}, { http_proxy = "http://me:hunter2@h:99999" }, 'http_proxy: a proxy that libcurl can use expected, got "http://***@h:99999"' },
      { { "--direct", "--embedder", "http://127.0.0.1:1" }, { ALL_PROXY = "ftp://me:hunter2@h" },
        'ALL_PROXY: a proxy that libcurl can use expected, got "ftp://***@h"' },
    } do
      local result = run("http://127.0.0.1:1", case[1], case[2])
      assert.same({ 2, "revec: " .. case[3] .. "\n" }, { result.code, result.output })
    end
  end)

  it("that is not there, or that reaches nobody itself, ends the run with 3, with nothing failed", function()
    local port = harness.free_port()
    proxy:stop()
    proxy = server.start "return function(request, reply) reply.send(502, {}, 'nobody there') end"
    for _, case in ipairs { { "http://backend.invalid", "http://127.0.0.1:" .. port }, { "https://backend.invalid", proxy.url } } do
      local result = run(case[1], { "--proxy", case[2], "--down-timeout", "1" })
      assert.equal(3, result.code, result.output)
      assert.matches("Backend out of reach %(http", result.stderr)
      assert.matches("Failed: 0\n.*Pending: 2\n", result.stderr)
    end
    assert.matches("^CONNECT ", proxy:requests()[1].method .. " ")
  end)

  it("that wants another password, before it lets us through to TLS (N21), ends the run with one line that shows none", function()
    proxy:stop()
    proxy = server.start [[return function(request, reply)
      reply.send(407, { ["Proxy-Authenticate"] = 'Basic realm="proxy"' }, "who")
    end]]
    local result = run("https://backend.invalid", { "--proxy", (proxy.url:gsub("//", "//me:hunter2@")) })
    assert.equal(3, result.code, result.output)
    local lines = {}
    for line in result.stderr:gmatch("ERROR %- ([^\n]*)") do lines[#lines + 1] = line end
    assert.equal(1, #lines, result.output)
    assert.matches("^Backend denies access %(https://backend%.invalid%): [^\n]*407", lines[1])
    assert.matches("Failed: 0\n.*Pending: 2\n", result.stderr)
    assert.is_nil(result.output:find("hunter2", 1, true))
    assert.equal(1, #proxy:requests())
  end)

  it("that wants a password we do not have denies us", function()
    proxy:stop()
    proxy = server.start "return function(request, reply) reply.send(407, {}, 'who') end"
    local result = run("http://backend.invalid", { "--proxy", proxy.url })
    assert.equal(3, result.code)
    assert.matches("Backend denies access", result.stderr)
  end)
end)

describe("a redirect", function()
  after_each(harness.cleanup)

  it("is not followed: credentials stay with their origin", function()
    local other = server.start(handler)
    local s = server.start(string.format([[return function(request, reply)
      reply.send(307, { Location = %q .. request.target }, "")
    end]], other.url))
    local result = run(s.url, { "--header", "X-Api-Key: hunter2" })
    assert.equal(1, result.code, result.output)
    assert.equal(0, #other:requests())
    s:stop()
    other:stop()
  end)

  it("is told with its status and where it leads, in bounds and without secrets", function()
    local s = server.start [[return function(request, reply)
      reply.send(301, { Location = "https://me:hunter2@other.example/" .. ("x"):rep(3000) .. "?token=hunter2" }, "<html>")
    end]]
    local names = {}
    for i = 1, 30 do names[i] = i .. ".jpg" end
    local result = run(s.url, { "--storage-path", harness.tree(names), "--check", "each", "--quiet" })
    s:stop()
    assert.equal(3, result.code, result.output)
    local line = result.stderr:match("Backend refuses everything %([^)]*%): ([^\n]*)\n")
    assert.matches("^a redirect %(301%) to https://%*%*%*@other.example/x+, which is not followed$", line)
    assert.is_true(#line < 300, #line)
    assert.is_nil(result.output:find("hunter2", 1, true))
    for _, entry in ipairs(harness.records(result.cwd)[1]) do assert.equal(line, entry.error) end
  end)

  it("of the scheme alone is told without what was asked", function()
    local s = server.start [[return function(request, reply)
      reply.send(308, { Location = "https://" .. request.headers.host .. request.target }, '{"error":"moved"}')
    end]]
    for path, args in pairs { ["/api/v1/embedding/image%?…"] = { "--no-skip-indexed" },
                              ["/embed"] = { "--direct", "--embedder", s.url .. "/embed" } } do
      local result = run(s.url, args)
      assert.equal(1, result.code, result.output)
      assert.matches("API call failed: 308 %- a redirect %(308%) to https://127.0.0.1:%d+" .. path .. ", which is not followed\n", result.stderr)
    end
    s:stop()
  end)
end)

describe("an answer that will not end", function()
  local s
  after_each(function()
    s:stop()
    harness.cleanup()
  end)

  local floods = {
    { "headers", [[reply.raw("HTTP/1.1 200 OK\r\n") while reply.raw("X-Flood: " .. ("x"):rep(1000) .. "\r\n") do end]] },
    { "interim answers", [[while reply.raw("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n") do end]] },
    { "body", [[reply.raw("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"success\",\"data\":[") while reply.raw(("1,"):rep(5000)) do end]] },
    { "body in chunks", [[reply.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") while reply.raw("5\r\n     \r\n") do end]] },
  }
  for _, flood in ipairs(floods) do
    it("(" .. flood[1] .. ") is stopped at its cap and fails the image", function()
      s = server.start("return function(request, reply)\n if request.id ~= 'b' then return reply.embedding(request.id) end\n" .. flood[2] .. "\nend")
      local result = run(s.url, { "--no-skip-indexed", "--max-retries", "0", "--timeout", "10" })
      assert.same({ 1, 1 }, { result.code, result.succeeded }, result.output)
      assert.equal("too_large", harness.records(result.cwd)[1][1].kind)
    end)
  end
end)

describe("an answer of 100 MB packed into half of one (S18)", function()
  local s, dir
  setup(function()
    dir = harness.tempdir()
    harness.shell("{ printf '{\"status\":\"success\",\"data\":['; head -c 100000000 /dev/zero | tr '\\0' ' '; } | gzip -1 >'" .. dir .. "/bomb'")
  end)
  after_each(function()
    server.stop_all()
    os.remove(dir .. "/open")
  end)
  teardown(harness.cleanup)

  -- libcurl unpacks a transfer's encoding without having been asked to, and never a content's.
  local packed = { { "Transfer-Encoding: gzip, chunked", "too_large" }, { "Content-Encoding: gzip\r\nTransfer-Encoding: chunked", "bad_answer" } }
  for _, case in ipairs(packed) do
    it("fails its image as " .. case[2] .. " and costs no memory: " .. case[1]:match("%C*"), function()
      s = server.start(([[return function(request, reply)
        if request.id == "a" then return reply.embedding() end
        while not io.open(%q) do reply.sleep(0.01) end
        if request.id == "c" then return reply.hang() end
        local file = io.open(%q, "rb")
        local bomb = file:read("*a")
        file:close()
        reply.raw("HTTP/1.1 200 OK\r\n" .. %q .. ("\r\n\r\n%%x\r\n%%s\r\n0\r\n\r\n"):format(#bomb, bomb))
      end]]):format(dir .. "/open", dir .. "/bomb", case[1]))
      local job = harness.spawn {
        args = { "--storage-path", harness.tree { "a.jpg", "b.jpg", "c.jpg" }, "--api-url", s.url, "--no-skip-indexed" }, env = { LC_ALL = "C" },
      }
      local function peak() return tonumber(harness.read("/proc/" .. job.pid .. "/status"):match("VmHWM:%s*(%d+) kB")) end
      job:wait_for("Succeeded: a")
      local before = peak()
      harness.write(dir .. "/open", "")
      job:wait_for("Failed: b")
      assert.is_true(peak() - before < 8 * 1024, peak() - before)
      job:signal("INT")
      job:wait_for("SIGINT received")
      job:signal("INT")
      assert.equal(130, job:wait().code)
      assert.equal(case[2], harness.records(job.cwd)[1][1].kind)
    end)
  end
end)
