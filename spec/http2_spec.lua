-- HTTP/2: the real command against nginx, which speaks it to us and HTTP/1.1 to a server behind it.
local certificates = require "spec.support.certificates"
local harness = require "spec.support.harness"
local http = require "socket.http"
local server = require "spec.support.server"
local socket = require "socket"

local N = 60
local START_SECONDS = 10

local CONF = [[
daemon off; master_process off; pid nginx.pid;
events { worker_connections 512; }
http {
  log_format ours "$server_protocol $request_method $request_uri $connection";
  access_log access.log ours;
  client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
  %s
  server {
    listen 127.0.0.1:%d ssl http2;
    listen 127.0.0.1:%d;
    ssl_certificate %s; ssl_certificate_key %s;
    location = /ready { return 204; }
    location / { proxy_pass %s; proxy_buffering off; }
  }
}]]

describe("over HTTP/2", function()
  local pem, storage, dir, front, behind, url

  setup(function()
    local names = {}
    for i = 1, N do names[i] = string.format("%02d.jpg", i) end
    pem = certificates.make(harness.tempdir())
    storage = harness.tree(names)
  end)
  teardown(harness.cleanup)

  after_each(function()
    if front then front.child:kill() end
    front = nil
    behind:stop()
  end)

  local function serve(directives, handler)
    behind = server.start("return function(request, reply)\n" .. (handler or "reply.sleep(0.005) reply.correctly()") .. "\nend", { dim = 64 })
    dir = harness.tempdir()
    local port, plain = harness.free_port(), harness.free_port()
    harness.write(dir .. "/nginx.conf", CONF:format(directives, port, plain, pem.good.cert, pem.good.key, behind.url))
    front = harness.spawn { command = { "nginx", "-p", dir, "-e", dir .. "/error.log", "-c", dir .. "/nginx.conf" },
                            env = { PATH = os.getenv("PATH") .. ":/usr/sbin" } }
    url = "https://127.0.0.1:" .. port
    local deadline = socket.gettime() + START_SECONDS
    while select(2, http.request("http://127.0.0.1:" .. plain .. "/ready")) ~= 204 do
      assert(not front.child:ended() and socket.gettime() < deadline, harness.read(dir .. "/error.log"))
      socket.sleep(0.01)
    end
  end

  -- The run, its counts, and what nginx has seen: protocols, connections, embeds by image.
  local function rebuild(...)
    local result = harness.run {
      args = { "--storage-path", storage, "--api-url", url, "--cacert", pem.ca, "--retry-delay", "0.05", "--max-concurrent", "16", ... },
      env = { LC_ALL = "C" },
    }
    -- A request is in the log once its end is known, which may be after the client knows it.
    front:signal("QUIT")
    front:wait()
    local function count(name) return tonumber(result.stderr:match(" %- INFO %- " .. name .. ": (%d+)\n")) or 0 end
    local seen, known = { protocols = {}, connections = 0, embeds = {} }, {}
    for protocol, method, target, connection in harness.read(dir .. "/access.log"):gmatch("(%S+) (%S+) (%S+) (%d+)\n") do
      if target ~= "/ready" then
        seen.protocols[protocol] = true
        seen.connections = seen.connections + (known[connection] and 0 or 1)
        known[connection] = true
        local id = method == "POST" and target:match("image_id=(%w+)")
        if id then seen.embeds[id] = (seen.embeds[id] or 0) + 1 end
      end
    end
    return result, { count("Succeeded"), count("Failed"), count("Pending") }, seen
  end

  local function once_each(seen)
    local images = 0
    for id, times in pairs(seen.embeds) do
      images = images + 1
      assert.equal(1, times, id)
    end
    assert.equal(N, images)
  end

  it("every request goes by it, on a connection or few", function()
    serve("")
    local result, counts, seen = rebuild "--http2"
    assert.same({ N, 0, 0 }, counts, result.output)
    assert.same({ ["HTTP/2.0"] = true }, seen.protocols)
    assert.is_true(seen.connections <= 2, seen.connections)
    once_each(seen)
  end)

  it("nothing goes by it unless asked for, though the server offers it (N30)", function()
    serve("")
    local result, counts, seen = rebuild()
    assert.same({ N, 0, 0 }, counts, result.output)
    assert.same({ ["HTTP/1.1"] = true }, seen.protocols)
  end)

  it("a server that takes leave of each connection after 10 requests (GOAWAY, N25) costs no image", function()
    serve("keepalive_requests 10;")
    local result, counts, seen = rebuild "--http2"
    assert.same({ N, 0, 0 }, counts, result.output)
    assert.is_true(seen.connections >= N / 10, seen.connections)
    once_each(seen)
  end)

  for _, streams in ipairs { 1, 2 } do
    it("a server that takes " .. streams .. " at once on a connection (N28) gets every image", function()
      serve("http2_max_concurrent_streams " .. streams .. ";")
      local result, counts, seen = rebuild "--http2"
      assert.same({ N, 0, 0 }, counts, result.output)
      assert.same({ ["HTTP/2.0"] = true }, seen.protocols)
      once_each(seen)
    end)
  end

  it("nginx's answer to a missing certificate ends the run with its reason, and with one every image is indexed", function()
    serve(("ssl_client_certificate %s; ssl_verify_client on;"):format(pem.ca))
    local result = rebuild "--http2"
    assert.equal(3, result.code, result.output)
    assert.matches("Backend denies access %(https://[^)]*%): [^\n]*No required SSL certificate was sent", result.stderr)
    assert.matches("Failed: 0\n.*Pending: 60\n", result.stderr)
    front.child:kill()
    behind:stop()
    serve(("ssl_client_certificate %s; ssl_verify_client on;"):format(pem.ca))
    local _, counts, seen = rebuild("--http2", "--cert", pem.wrong_host.cert, "--key", pem.wrong_host.key)
    assert.same({ N, 0, 0 }, counts)
    once_each(seen)
  end)

  it("an answer that is reset in mid-body (N27) is never taken for a whole one", function()
    serve("", [[
      if request.method == "POST" and request.seen == 1 and request.id:find("0$") then
        local body = reply.embedding_text()
        reply.raw(("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s"):format(#body, body:sub(1, #body - 1 - tonumber(request.id))))
        return reply.close()
      end
      reply.correctly()]])
    local result, counts, seen = rebuild "--http2"
    assert.same({ N, 0, 0 }, counts, result.output)
    for id, times in pairs(seen.embeds) do assert.equal(id:find("0$") and 2 or 1, times, id) end
  end)
end)
