-- Whole direct rebuilds into the services that have aliases, each a contract server (spec/support/services).

require("spec.support.paths")
local harness = require("spec.support.harness")
local revec = require("revec")
local server = require("spec.support.server")

local sources = {
  qdrant = 'return (require("spec.support.services.qdrant"))',
  milvus = 'return (require("spec.support.services.milvus"))',
  elasticsearch = 'return require("spec.support.services.elasticsearch")("elasticsearch")',
  opensearch = 'return require("spec.support.services.elasticsearch")("opensearch")',
}

-- An embedder of two numbers made of the file's name; `odd` has three.
local function by_name(image)
  if image.id == "odd" then return { 1, 2, 3 } end
  return { #image.id, image.id:byte(1) }
end

for kind, source in pairs(sources) do
  describe("a direct rebuild into " .. kind, function()
    local service, storage, dir

    setup(function()
      service = server.start(source)
      storage, dir = harness.tree { "a.jpg", "b/c.jpg", "猫 1.jpg" }, harness.tempdir()
    end)

    teardown(function()
      harness.cleanup()
      server.stop_all()
    end)

    local function rebuild(changes)
      local all = { direct = true, storage_path = storage, index = kind .. "+" .. service.url .. "/images", failed_dir = dir, retry_delay = 0.01,
        embedder = by_name }
      for key, value in pairs(changes or {}) do all[key] = value end
      return assert(revec.rebuild(all))
    end

    local function counts(report) return { report.succeeded, report.skipped, report.failed } end

    it("indexes, skips, fails one record alone, swaps and goes back", function()
      assert.same({ 3, 0, 0 }, counts(rebuild()))
      assert.same({ 0, 3, 0 }, counts(rebuild()))
      harness.write(storage .. "/odd.jpg", "odd")
      harness.write(storage .. "/d.jpg", "d")
      assert.same({ 1, 3, 1 }, counts(rebuild()))
      os.remove(storage .. "/odd.jpg")
      assert.is_true(rebuild({ recreate = true, swap = true, verify = true }).switched)
      harness.write(storage .. "/e.jpg", "e")
      assert.same({ 1, 4, 0 }, counts(rebuild()))
      assert.is_string((revec.rollback { direct = true, index = kind .. "+" .. service.url .. "/images" }))
      assert.same({ 1, 4, 0 }, counts(rebuild()))
    end)

    it("is refused where the settings do not say what they must", function()
      for field, why in pairs { url = "url: a URL", collection = "collection: a name expected" } do
        local settings = { kind = kind, url = service.url, collection = "images" }
        settings[field] = nil
        local _, told = revec.rebuild { direct = true, storage_path = storage, embedder = by_name, index = settings, failed_dir = dir }
        assert.matches("index: " .. why, told)
      end
    end)
  end)
end
