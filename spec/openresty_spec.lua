-- examples/openresty in a real nginx: every route, who may ask what, and what is left of a run when its worker goes.

-- nginx has a Lua of its own, whatever runs the spec: once is enough.
if jit then return end

local cjson = require("cjson")
local socket = require("socket")
local harness = require("spec.support.harness")
local lfs = require("lfs")
local nginx = require("spec.support.openresty")

local app, backend, storage

local function names(n)
  local list = {}
  for i = 1, n do list[i] = string.format("%02d/%03d.jpg", i % 5, i) end
  return list
end

-- Slow enough that a run can be met in its middle.
local function slow_backend(images)
  storage = harness.tree(names(images))
  backend = harness.backend(storage, { dim = 3 })
  backend:control { latency_ms = 20, lookup_latency_ms = 1 }
end

local function signal(pid, name)
  assert(os.execute("kill -" .. name .. " " .. pid))
end

local function is_alive(pid) return lfs.attributes("/proc/" .. pid) ~= nil end

local function clean_up()
  nginx.stop_all()
  harness.cleanup()
end

describe("a rebuild in nginx", function()
  setup(function()
    slow_backend(60)
    backend:control { fail = { pattern = "image_id=007", status = 422, body = '{"detail":"odd <b>&</b>"}' } }
    app = nginx.start { storage = storage, api_url = backend.url, workers = 2 }
  end)
  teardown(clean_up)

  it("has started nothing before it is asked to", function()
    assert.equal(0, select(2, assert(harness.read("/proc/" .. app.master .. "/status")):gsub("Threads:\t[^1]", "")))
    assert.is_nil(app:rebuild())
    local status, _, body = app:ask("DELETE", "/rebuild")
    assert.equal(409, status)
    assert.equal('{"error":"no rebuild is running"}\n', body)
    assert.matches("revec_running 0\n", (select(3, app:ask("GET", "/metrics"))))
  end)

  it("has a page that runs its own script and style alone", function()
    local status, headers, body = app:ask("GET", "/")
    assert.equal(200, status)
    assert.equal("text/html; charset=utf-8", headers["content-type"])
    assert.equal("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
      .. "form-action 'none'; frame-ancestors 'none'", headers["content-security-policy"])
    assert.equal("nosniff", headers["x-content-type-options"])
    assert.is_nil(body:find("<script>") or body:find("<style") or body:find(" style=") or body:find(" on%l+="))
    local script = select(3, app:ask("GET", "/page.js"))
    assert.is_nil(script:find("innerHTML") or script:find("insertAdjacentHTML") or script:find("document.write") or script:find("eval%("))
    assert.equal("text/css; charset=utf-8", select(2, app:ask("GET", "/page.css"))["content-type"])
    status, headers, body = app:ask("HEAD", "/")
    assert.same({ 200, "" }, { status, body })
    assert.is_true(tonumber(headers["content-length"]) > 1000)
  end)

  it("refuses what it has no route or method for", function()
    assert.equal(404, (app:ask("GET", "/settings.lua")))
    assert.equal(404, (app:ask("GET", "/app.lua")))
    local status, headers = app:ask("PUT", "/rebuild", "{}")
    assert.same({ 405, "DELETE, GET, POST" }, { status, headers.allow })
    assert.equal(405, (app:ask("POST", "/metrics", "{}")))
  end)

  local elsewhere = {
    ["a host name that is not ours"] = { Host = "rebound.example:8080" },
    ["a page of another site"] = { Origin = "http://evil.example" },
    ["a page of another port"] = { Origin = "http://127.0.0.1:1" },
    ["a page without an origin"] = { Origin = "null" },
    ["another site, as the browser tells"] = { ["Sec-Fetch-Site"] = "cross-site" },
    ["a neighbouring site"] = { ["Sec-Fetch-Site"] = "same-site" },
    ["behind another server"] = { ["X-Forwarded-For"] = "127.0.0.1" },
  }
  for who, headers in pairs(elsewhere) do
    it("neither starts nor stops for " .. who, function()
      local all = { ["Content-Type"] = "application/json" }
      for name, value in pairs(headers) do all[name] = value end
      assert.equal(403, (app:ask("POST", "/rebuild", "{}", all)))
      assert.equal(403, (app:ask("DELETE", "/rebuild", nil, headers)))
      assert.is_nil(app:rebuild())
    end)
  end

  it("shows nothing to a host name that is not ours, nor behind another server", function()
    for _, path in ipairs { "/", "/rebuild", "/rebuild/events", "/metrics" } do
      assert.equal(403, (app:ask("GET", path, nil, { Host = "rebound.example" })))
      assert.equal(403, (app:ask("GET", path, nil, { ["X-Forwarded-For"] = "10.0.0.1" })))
    end
  end)

  it("takes JSON that says it is JSON, as a form of another site cannot", function()
    for _, kind in ipairs { "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp" } do
      local status, _, body = app:ask("POST", "/rebuild", "{}", { ["Content-Type"] = kind })
      assert.same({ 415, "Content-Type: application/json expected" }, { status, cjson.decode(body).error })
    end
  end)

  local bad = {
    { "", "a JSON object of options expected: Expected value but found T_END at character 1" },
    { "{", "a JSON object of options expected: Expected object key string but found T_END at character 2" },
    { "[]", "a JSON object of options expected" },
    { '["limit"]', "a JSON object of options expected" },
    { '"limit"', "a JSON object of options expected" },
    { "null", "a JSON object of options expected" },
    { '{"tags":"\255"}', "a JSON object of options expected" },
    { '{"limt":5}', '"limt": no such option: did you mean limit?' },
    { '{"limit":0}', "limit: integer of at least 1 expected, got 0" },
    { '{"limit":1.5}', "limit: integer of at least 1 expected, got 1.5" },
    { '{"limit":null}', "limit: null; leave it out for the default" },
    { '{"limit":[1]}', "limit: integer of at least 1 expected, got a table" },
    { '{"max_concurrent":1e999}', "max_concurrent: integer 1..256 or auto expected, got inf" },
    { '{"verify":"yes"}', 'verify: true or false expected, got "yes"' },
    { '{"ext":{"a":"jpg"}}', "ext: array of strings expected, without other keys and without holes, got a table" },
    { '{"check":"never"}', 'check: one of auto, each, batch, list expected, got "never"' },
    { '{"on_failure":"return os.exit()"}', "on_failure: not taken from a request" },
    { '{"filter":"x"}', "filter: not taken from a request" },
    { '{"storage":"../../etc"}', 'storage: one of images expected, got "..\\/..\\/etc"' },
    { '{"storage":["images"]}', 'storage: one of images expected, got ["images"]' },
    { '{"backend":"http://169.254.169.254/"}', 'backend: one of main expected, got "http:\\/\\/169.254.169.254\\/"' },
    { '{"storage_path":"/etc"}', "storage_path: not taken from a request; choose a storage by its name" },
    { '{"api_url":"http://169.254.169.254"}', "api_url: not taken from a request; choose a backend by its name" },
  }
  for _, name in ipairs { "failed_dir", "retry_failed", "files_from", "config", "cacert", "cert", "key", "unix_socket", "proxy", "token_env", "header",
                          "insecure", "verbose", "lang" } do
    bad[#bad + 1] = { '{"' .. name .. '":"/etc/passwd"}', name .. ": not taken from a request" }
  end
  it("says what is wrong with options", function()
    for _, case in ipairs(bad) do
      local status, _, body = app:ask("POST", "/rebuild", case[1])
      assert.same({ case[1], 400, case[2] }, { case[1], status, cjson.decode(body).error })
    end
    assert.equal(413, (app:ask("POST", "/rebuild", '{"tags":"' .. ("x"):rep(20000) .. '"}')))
    assert.is_nil(app:rebuild())
  end)

  it("starts once, shows how it goes, and is refused to a second one on any worker", function()
    local status, stand = app:start { max_concurrent = 4, tags = "a,b", limit = "50", check = "each" }
    assert.equal(202, status)
    assert.is_true(stand.running)
    for _ = 1, 8 do
      local answer
      status, answer = app:start()
      assert.same({ 409, "a rebuild is running: wait for its end, or stop it with DELETE /rebuild" }, { status, answer.error })
    end
    local middle = app:await_done(5)
    assert.same({ 4, "main", "images" }, { middle.limit, middle.backend, middle.storage })
    local report = app:await_end()
    assert.same({ "done", 50, 49, 1, 0 }, { report.reason, report.total, report.succeeded, report.failed, report.pending })
    local record = harness.records(app.dir .. "/records")
    assert.equal("007", record[1][1].id)
    assert.matches("^failed_images_[%d_]+%.json$", report.record)
  end)

  it("tells watchers all of it as events", function()
    local client = assert(socket.connect("127.0.0.1", tonumber(app.url:match("%d+$"))))
    client:settimeout(10)
    client:send("GET /rebuild/events HTTP/1.0\r\nHost: localhost\r\n\r\n")
    local heard, name = {}, nil
    while not (heard.state and heard.failure and heard.history and heard.setup) do
      local line = assert(client:receive("*l"))
      name = line:match("^event: (.*)") or name
      if line:find("^data: ") then heard[name] = cjson.decode(line:sub(7)) end
    end
    client:close()
    assert.same({ "images" }, heard.setup.storages)
    assert.same({ "rejected", "odd <b>&</b>", 422 }, { heard.failure.kind, heard.failure.message, heard.failure.status })
    assert.is_true(heard.history[1].rate > 0 and heard.history[1].p95 >= heard.history[1].p50)
    assert.equal(50, heard.state.done)
  end)

  it("counts for Prometheus", function()
    local _, headers, body = app:ask("GET", "/metrics")
    assert.matches("^text/plain; version=0%.0%.4", headers["content-type"])
    assert.matches('revec_images_total{outcome="succeeded"} 49\n', body)
    assert.matches('revec_runs_total{reason="done"} 1\n', body)
    local count = tonumber(body:match("revec_request_seconds_count (%d+)\n"))
    assert.equal(100, count)
    assert.equal(count, tonumber(body:match('revec_request_seconds_bucket{le="%+Inf"} (%d+)\n')))
    for line in body:gmatch("[^\n]+") do assert.matches("^[#r]%S* ?[^ ]* ?", line) end
  end)

  it("drains when told to stop, and ends at once when told again", function()
    backend:control { latency_ms = 300 }
    app:start { force_reindex = true, max_concurrent = 4 }
    nginx.await("requests in flight", function() return app:rebuild().active == 4 end)
    assert.equal(202, (app:ask("DELETE", "/rebuild")))
    local report = app:await_end()
    assert.same({ "interrupted", "stopped by a request", true }, { report.reason, report.message, report.done >= 4 })
    assert.equal(60, report.done + report.pending)

    backend:control { latency_ms = 20000 }
    app:start { force_reindex = true, max_concurrent = 4 }
    nginx.await("requests in flight", function() return app:rebuild().active == 4 end)
    app:ask("DELETE", "/rebuild")
    local _, _, body = app:ask("DELETE", "/rebuild")
    assert.equal('{"stopping":"now"}\n', body)
    report = app:await_end()
    assert.same({ "interrupted", 0, 60 }, { report.reason, report.done, report.pending })
    assert.is_nil(app:log():match("%[error%][^\n]*lua[^\n]*") or app:log():match("%[crit%]") or app:log():match("%[alert%]"))
  end)
end)

describe("a run whose worker goes", function()
  setup(function()
    slow_backend(150)
    app = nginx.start { storage = storage, api_url = backend.url, workers = 2 }
  end)
  teardown(clean_up)

  before_each(function()
    backend:control()
    backend:control { latency_ms = 20, fail = { pattern = "image_id=005", status = 422, body = '{"detail":"odd"}' } }
    for _, name in ipairs(harness.list(app.dir .. "/records")) do os.remove(app.dir .. "/records/" .. name) end
    assert.equal(202, (app:start { max_concurrent = 5 }))
  end)

  local function worker_of_run() return app:await_done(20).worker end

  -- Every image is indexed in the end, but for the one that always fails, whose failures are all on record.
  local function finish(ended, records)
    assert.is_true(ended.done < 150)
    assert.equal(202, (app:start { max_concurrent = 50 }))
    local report = app:await_end()
    assert.same({ "done", 150, 1, 0 }, { report.reason, report.total, report.failed, report.pending })
    assert.is_true(report.skipped >= ended.succeeded)
    assert.equal(records, #harness.records(app.dir .. "/records"))
    for _, name in ipairs(harness.list(app.dir .. "/records")) do
      assert.is_truthy(name == "rebuild.lock" or name:find("^failed_images_.*%.json$"), name)
    end
  end

  it("is told as killed when that was so, and loses nothing", function()
    local worker = worker_of_run()
    signal(worker, "KILL")
    local ended = app:await_end()
    assert.same({ "killed", "its nginx worker was killed: start again to go on" }, { ended.reason, ended.message })
    finish(ended, 2)
  end)

  it("drains at a reload, and loses nothing", function()
    local worker = worker_of_run()
    signal(app.master, "HUP")
    local ended = app:await_end()
    assert.same({ "worker_exit", "the nginx worker exits: start again to go on" }, { ended.reason, ended.message })
    nginx.await("the old worker's end", function() return not is_alive(worker) end)
    finish(ended, 2)
  end)

  it("does not keep a reload waiting for what never answers", function()
    local worker = worker_of_run()
    backend:control { latency_ms = 30000 }
    socket.sleep(0.1)
    signal(app.master, "HUP")
    local began = socket.gettime()
    nginx.await("the old worker's end", function() return not is_alive(worker) end)
    assert.is_true(socket.gettime() - began < 10)
    local ended = app:rebuild()
    assert.equal("worker_exit", ended.reason)
    backend:control { latency_ms = 20 }
    finish(ended, 2)
  end)

  it("writes its record when nginx is stopped", function()
    worker_of_run()
    local dir = app.dir
    app:stop()
    assert.equal("005", harness.records(dir .. "/records")[1][1].id)
    -- Killed there was one, by a spec above.
    assert.is_nil(harness.read(dir .. "/error.log"):match("exited on signal [^9][^\n]*"))
  end)
end)

describe("settings", function()
  setup(function() storage = harness.tree { "a/1.jpg", "b/2.jpg" } end)
  teardown(clean_up)

  it("offer several storages by name, and decide who may do what", function()
    app = nginx.start { storage = storage, api_url = "http://127.0.0.1:1", settings = [[
      local storage = os.getenv("REVEC_STORAGE")
      return { storages = { a = storage .. "/a", gone = storage .. "/none" }, backends = { main = os.getenv("REVEC_API_URL") },
               dir = os.getenv("REVEC_DIR"), may_control = function() return ngx.var.http_x_user == "boss" end }
    ]] }
    local boss = { ["Content-Type"] = "application/json", ["X-User"] = "boss" }
    assert.equal(403, (app:ask("POST", "/rebuild", '{"storage":"a","dry_run":true}')))
    local status, _, body = app:ask("POST", "/rebuild", '{"dry_run":true}', boss)
    assert.same({ 400, "storage: one of a, gone expected, got none" }, { status, cjson.decode(body).error })
    status, _, body = app:ask("POST", "/rebuild", '{"storage":"gone","dry_run":true}', boss)
    assert.same({ 500, "storage_path: " .. storage .. "/none: No such file or directory" }, { status, cjson.decode(body).error })
    assert.equal(202, (app:ask("POST", "/rebuild", '{"storage":"a","dry_run":true}', boss)))
    assert.equal(1, app:await_end().total)
  end)

  it("may name a folder too deep for a socket: the run then looks for work by a timer", function()
    app = nginx.start { storage = storage, api_url = "http://127.0.0.1:1", settings = [[
      local dir = os.getenv("REVEC_DIR") .. "/" .. ("x"):rep(100)
      os.execute("mkdir -p " .. dir)
      return { storages = { images = os.getenv("REVEC_STORAGE") }, backends = { main = os.getenv("REVEC_API_URL") }, dir = dir }
    ]] }
    assert.equal(202, (app:start { dry_run = true }))
    assert.equal(2, app:await_end().total)
    assert.matches("revec: no doorbell, so the rebuild looks for work by a timer: [^\n]*File name too long", app:log())
  end)

  local mistakes = {
    { "return { storages = {}, backends = { main = 'http://x' }, dir = '/tmp' }", "revec settings: storages: missing" },
    { "return { storage = 1 }", "revec settings: storage: no such setting" },
    { "return { storages = { a = '/tmp' }, backends = { main = 'localhost' }, dir = '/tmp' }",
      'revec settings: with storage a and backend main: api_url: a URL that begins with http:// or https:// expected, got "localhost"' },
  }
  it("that are wrong keep nginx from starting, with one line about it", function()
    for _, case in ipairs(mistakes) do
      local dir = harness.tempdir()
      harness.write(dir .. "/settings.lua", case[1])
      local result = harness.run {
        command = { nginx.script, "--settings", dir .. "/settings.lua", "--state", dir, "--port", tostring(harness.free_port()), "--storage", storage,
                    "--api-url", "http://127.0.0.1:1" },
      }
      assert.equal(1, result.code)
      assert.is_truthy(result.stderr:find(case[2], 1, true), result.stderr)
    end
  end)
end)

describe("the run script", function()
  teardown(harness.cleanup)

  it("starts it against the example backend, and leaves nothing behind", function()
    storage = harness.tree { "1.jpg" }
    local tmp = harness.tempdir()
    local run = harness.spawn { command = { nginx.script, "--storage", storage, "--port", tostring(harness.free_port()) }, env = { TMPDIR = tmp } }
    local self = nginx.at(run:wait_for("(http://[%d.:]+)\n"))
    assert.equal(202, (self:start()))
    assert.equal(1, self:await_end().succeeded)
    run:signal("INT")
    assert.equal(0, run:wait(20).code)
    assert.same({}, harness.list(tmp))
  end)

  it("says what it was given wrong", function()
    local result = harness.run { command = { nginx.script, "--port", "0" } }
    assert.equal(2, result.code)
    assert.matches("^run: %-%-port 0: integer 1%.%.65535 expected\nusage: ", result.stderr)
    assert.equal("run: --storage /none: no such folder\n", harness.run({ command = { nginx.script, "--storage", "/none" } }).stderr)
  end)
end)
