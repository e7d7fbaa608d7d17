-- The embedders that ask a service, against its contract server (spec/support/services), which looks at every byte of a request.

require("spec.support.paths")
local asking = require("spec.support.asking")
local harness = require("spec.support.harness")
local new_image = require("revec.image").new
local server = require("spec.support.server")
local stores = require("revec.store")
local revec = require("revec")
local unpack = table.unpack or unpack -- luacheck: ignore 113 143

-- What a user's table has beside the defaults; path: of the URL; module: where it is another than the name.
local services = {
  openai = { path = "/v1", model = "m" },
  vllm = { path = "/v1", model = "m" },
  jina = {}, cohere = {}, voyage = {},
  dashscope = { model = "tongyi-embedding-vision-plus" },
  plain = { path = "/embed" },
  form = { module = "plain", path = "/embed", form = "images", fields = { model = "m" }, vectors = "embeddings[]", per_request = 4 },
}
local names = { "openai", "vllm", "jina", "cohere", "voyage", "dashscope", "plain", "form" }

local service, folder

-- Files 1 to 8 of every length that base64 has a way for, with all bytes in them.
local function make_files()
  folder = harness.tempdir()
  local kinds = { "jpg", "JPEG", "png", "gif", "webp", "jpg", "jpg", "jpg" }
  for i, kind in ipairs(kinds) do
    local bytes = {}
    for n = 1, 1000 * i + i do bytes[n] = string.char((n * n + i * 7) % 256) end
    harness.write(("%s/%d.%s"):format(folder, i, kind), table.concat(bytes))
  end
  harness.write(folder .. '/9 "quoted".jpg', "name")
  local file = assert(io.open(folder .. "/10.jpg", "wb"))
  file:write(("large"):rep(1024 * 1024 + 1))
  file:close()
end

local function images(...)
  local list = {}
  for i, name in ipairs { ... } do list[i] = new_image(folder .. "/", name, name) end
  return list
end

local function open(name, behaviour, changes)
  local settings, given = { token = "secret", headers = { "X-Tenant: 7" } }, services[name]
  local module = require("revec.embedders." .. (given.module or name))
  for _, each in ipairs { module.defaults or {}, given, changes or {} } do
    for key, value in pairs(each) do settings[key] = value end
  end
  settings.url = service.url .. "/" .. name .. "/" .. (behaviour or "good") .. (given.path or module.defaults.url:match("^https://[^/]+(/.*)$"))
  return module.new(settings)
end

local function embed(embedder, list)
  return asking.run(embedder, function(ask) return embedder:embed(ask, list) end)
end

-- The numbers that the vectors begin with; false for one that is wrong.
local function numbers(vectors)
  local list = {}
  for i, vector in ipairs(vectors) do list[i] = vector and tonumber(vector:json():match("^%[(%d+)")) end
  return list
end

describe("the embedder", function()
  setup(function()
    make_files()
    service = server.start(('return (require("spec.support.services.embedders"))(%q)'):format(folder))
  end)

  teardown(function()
    server.stop_all()
    harness.cleanup()
  end)

  for _, name in ipairs(names) do
    describe(name, function()
      local one = name == "vllm" or name == "plain"

      it("gets the vector of each image, whose bytes come whole", function()
        local embedder = assert(open(name))
        for _, each in ipairs { "1.jpg", "2.JPEG", "3.png", "4.gif", "5.webp", '9 "quoted".jpg' } do
          local vectors, why = embed(embedder, images(each))
          assert.same({ tonumber(each:match("%d")) }, numbers(assert(vectors, type(why) == "table" and why.message)))
          assert.is_nil(why)
          assert.equal(2, vectors[1]:dimension())
        end
        assert.equal(embedder.routes.embed.method, "POST")
        assert.is_truthy(embedder.model)
      end)

      if not one then
        it("gets those of several at once, in their order", function()
          local embedder = assert(open(name))
          assert.is_true(embedder.per_request > 1)
          assert.same({ 3, 1, 2 }, numbers((embed(embedder, images("3.png", "1.jpg", "2.JPEG")))))
        end)

        it("says how many came when it were fewer than asked for", function()
          local vectors, failure = embed(open(name, "fewer"), images("1.jpg", "2.JPEG", "3.png"))
          assert.is_nil(vectors)
          assert.same({ "bad_answer", "2 vectors for 3 images", 200 }, { failure.kind, failure.message, failure.status })
        end)
      end

      it("takes a vector that is none for that image's alone", function()
        for behaviour, expected in pairs {
          nan = "not all of the vector are numbers", zeros = "the vector is all zeros", empty = "the vector is empty",
          words = "not all of the vector are numbers",
        } do
          local vectors, why = embed(open(name, behaviour), one and images("2.JPEG") or images("1.jpg", "2.JPEG", "3.png"))
          assert.same(one and { false } or { 1, false, 3 }, numbers(assert(vectors, type(why) == "table" and why.message)))
          assert.equal(expected, why)
        end
      end)

      it("tells a refusal by its reason", function()
        for behaviour, expected in pairs {
          broken = { "rejected", "cannot identify image file", 400 },
          many = { "rejected", "too many bytes", 413 },
          error = { "bad_answer", "out of memory", 200 },
          html = { "bad_answer", "an HTML page instead of an answer", 200 },
        } do
          local vectors, failure = embed(open(name, behaviour), images("2.JPEG"))
          assert.is_nil(vectors)
          assert.same({ expected[1], expected[3] }, { failure.kind, failure.status })
          assert.matches(expected[2] .. "$", failure.message)
        end
        local _, failure = embed(open(name, "good", { token = "other" }), images("1.jpg"))
        assert.same({ "denied", 401 }, { failure.kind, failure.status })
        assert.matches("no such key$", failure.message)
      end)

      it("comes again when it is told to", function()
        local behaviour = name == "openai" and "busy_for" or "busy"
        local before = service:count("/" .. behaviour .. "/")
        assert.same({ 1 }, numbers((embed(open(name, behaviour), images("1.jpg")))))
        assert.equal(before + 2, service:count("/" .. behaviour .. "/"))
      end)

      it("fails an image that cannot be read, and asks nobody", function()
        local before = service:count()
        local _, failure = embed(open(name), images("gone.jpg"))
        assert.same({ "unreadable_file", folder .. "/gone.jpg: No such file or directory" }, { failure.kind, failure.message })
        assert.equal(before, service:count())
      end)

      it("sends the headers that it was given, and tells no secrets", function()
        local embedder = open(name)
        assert.same({ "X-Tenant: 7", "Authorization: Bearer secret" }, embedder.headers)
        local settings = { token = "secret" }
        for key, value in pairs(services[name]) do settings[key] = value end
        settings.url, settings.model = "https://user:pw@host/v1/?key=secret", "m"
        embedder = require("revec.embedders." .. (settings.module or name)).new(settings)
        assert.matches("^https://%*%*%*@host/v1/", embedder.where)
        assert.is_nil(embedder.where:find("secret"))
        assert.matches("?key=secret", embedder.url, 1, true)
      end)
    end)
  end

  for _, name in ipairs { "openai", "jina", "voyage", "dashscope" } do
    it(name .. " puts vectors in their order", function()
      assert.same({ 1, 2, 3 }, numbers((embed(open(name, "reversed"), images("1.jpg", "2.JPEG", "3.png")))))
    end)
  end

  for _, name in ipairs { "openai", "vllm", "jina", "cohere", "voyage", "dashscope" } do
    it(name .. " asks for vectors of the dimension that it is given", function()
      local embedder = open(name, nil, { dimension = 7 })
      assert.equal(7, embedder.dimension)
      assert.equal(7, embed(embedder, images("1.jpg"))[1]:dimension())
    end)
  end

  it("vllm sends a text along where a model wants one", function()
    assert.same({ 1 }, numbers((embed(open("vllm", nil, { text = 'Say "it".' }), images("1.jpg")))))
    assert.equal("text", select(2, embed(open("vllm", nil, { text = "other" }), images("1.jpg"))).message)
  end)

  it("cohere sends its older models one image at a time", function()
    local embedder = open("cohere", nil, { model = "embed-english-v3.0" })
    assert.equal(1, embedder.per_request)
    assert.same({ 4 }, numbers((embed(embedder, images("4.gif")))))
  end)

  it("dashscope sends as many as the model takes, and tells its codes", function()
    assert.equal(8, open("dashscope").per_request)
    local embedder = open("dashscope", nil, { model = "qwen3-vl-embedding" })
    assert.equal(1, embedder.per_request)
    local _, failure = embed(embedder, images("10.jpg"))
    assert.same({ "rejected", "BadRequest.TooLarge: Payload Too Large", 413 }, { failure.kind, failure.message, failure.status })
    _, failure = embed(open("dashscope", "arrears"), images("1.jpg"))
    assert.same({ "denied", "Arrearage: Access denied, please make sure your account is in good standing." }, { failure.kind, failure.message })
    assert.same({ 1 }, numbers((embed(open("dashscope", "limit"), images("1.jpg")))))
  end)

  it("is asked for fields of the user's", function()
    local _, failure = embed(open("jina", nil, { fields = { task = "x" } }), images("1.jpg"))
    assert.equal("task: unknown field", failure.message)
    assert.same({ 1 }, numbers((embed(open("voyage", nil, { model = "other", fields = { model = "voyage-multimodal-3.5" } }), images("1.jpg")))))
  end)

  it("says which of its settings is wrong", function()
    for _, case in ipairs {
      { "openai", { model = false }, "model: the model's name expected, as in openai+http://localhost:8000#MODEL" },
      { "openai", { per_request = 33 }, "per_request: integer 1..32 expected, got 33" },
      { "vllm", { per_request = 2 }, "per_request: integer 1..1 expected, got 2" },
      { "vllm", { text = 5 }, "text: a string expected, got number" },
      { "jina", { dimension = 1.5 }, "dimension: integer 1..65536 expected, got 1.5" },
      { "voyage", { max_bytes = "20M" }, "max_bytes: a number of bytes expected, got 20M" },
      { "voyage", { fields = "x" }, "fields: a table expected, got string" },
      { "jina", { fields = { f = print } }, "fields: Cannot serialise function: type not supported" },
      { "plain", { fields = { a = 1 } }, "fields: only with form" },
      { "plain", { vectors = "" }, "vectors: a text expected, not empty" },
      { "form", { form = 5 }, "form: a text expected, not empty" },
    } do
      local embedder, why = open(case[1], nil, case[2])
      assert.is_nil(embedder)
      assert.equal(case[3], why)
    end
    local _, why = require("revec.embedders.openai").new { model = "m" }
    assert.equal("url: where the service answers expected, as in openai+http://localhost:8000#MODEL", why)
  end)

  -- The vectors that are stored for files 1 to 9, `but` for one.
  local function expect_stored(path, model, but)
    local store = assert(stores.open(path))
    assert.same({ model, 2, but and 8 or 9 }, { store:info().model, store:info().dimension, store:count() })
    for _, hit in ipairs(assert(store:search("[1,0]", 9))) do
      local again = assert(store:search(("[%d,0.5]"):format(hit.id:match("^%d")), 1))
      assert.same({ hit.id, true }, { again[1].id, again[1].score > 0.999999 })
      assert.not_equal(but, hit.id)
    end
    store:close()
  end

  for name, case in pairs {
    openai = { "m", "reversed/v1" }, vllm = { "m", "good/v1" }, plain = { "plain", "good/embed" },
    jina = { "jina-clip-v2", "reversed/v1" }, voyage = { "voyage-multimodal-3.5", "reversed/v1" }, cohere = { "embed-v4.0", "good/v2" },
    dashscope = { "tongyi-embedding-vision-plus", "reversed/api/v1" },
  } do
    it(name .. " takes part in a rebuild", function()
      local dir, model, path = harness.tempdir(), unpack(case)
      local defaults = require("revec.embedders." .. name).defaults or {}
      local named = model == defaults.model and "" or "#" .. model
      local run = harness.run { cwd = dir, env = { [defaults.token_env or "KEY"] = "secret" }, args = { "--direct", "--lang", "en", "--verify",
        "--storage-path", folder, "--exclude", "10.jpg", "--embedder", ("%s+%s/%s/%s%s"):format(name, service.url, name, path, named),
        unpack(defaults.token_env and {} or { "--token-env", "KEY" }) } }
      assert.equal(0, run.code, run.output)
      assert.matches("Succeeded: 9\n", run.stderr)
      expect_stored(dir .. "/index.sqlite", model)
    end)
  end

  it("fails one damaged image alone in a rebuild", function()
    local dir = harness.tempdir()
    local report = assert(revec.rebuild { direct = true, storage_path = folder, index = dir .. "/index.sqlite", failed_dir = dir, retry_delay = 0.01,
      exclude = { "10.jpg" },
      embedder = { kind = "openai", url = service.url .. "/openai/broken/v1", model = "m", token = "secret", per_request = 4 } })
    assert.same({ "done", 8, 1 }, { report.reason, report.succeeded, report.failed })
    local record = harness.records(dir)[1][1]
    assert.same({ "2.JPEG", "rejected", "cannot identify image file" }, { record.filename, record.kind, record.error })
    expect_stored(dir .. "/index.sqlite", "m", "2")
  end)
end)
