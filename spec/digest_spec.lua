-- What ids are made of, held against Python's uuid and coreutils' sha256sum.
require "spec.support.paths"
local digest = require "revec.digest"
local harness = require "spec.support.harness"
local process = require "spec.support.process"

local DNS = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

describe("digest", function()
  after_each(harness.cleanup)

  it("makes the UUIDs of version 5 that others make", function()
    for name, uuid in pairs {
      ["python.org"] = "886313e1-3b8a-5372-9b90-0c9aee199e5d",
      ["www.example.com"] = "2ed6657d-e927-568b-95e1-2665a8aea6a2",
      [""] = "4ebd0208-8328-5d69-8c44-ec50939c0967",
      ["\0\255caf\195\169\n'"] = "175fdadc-418d-5b23-80dd-bd2d2d5948b9",
    } do
      assert.equal(uuid, digest.uuid5(DNS, name))
      assert.equal(uuid, digest.uuid5(DNS:upper(), name))
    end
  end)

  it("takes no other namespace than a UUID", function()
    for _, namespace in ipairs { "", "x", DNS .. "0", (DNS:gsub("%-", "")), (DNS:gsub("6", "g", 1)), DNS:sub(2) .. "-" } do
      assert.has_error(function() digest.uuid5(namespace, "a") end)
    end
  end)

  it("hashes files as sha256sum does", function()
    local dir = harness.tempdir()
    for name, bytes in pairs { empty = "", short = "abc", long = ("0123456789"):rep(20000) .. "\0\255" } do
      local path = dir .. "/" .. name
      harness.write(path, bytes)
      harness.shell("sha256sum <" .. process.quote(path) .. " >" .. process.quote(path .. ".sum"))
      assert.equal(process.read(path .. ".sum"):match("^%x+"), digest.sha256_file(path))
    end
  end)

  it("says why a file cannot be read", function()
    local dir = harness.tempdir()
    assert.same({ nil, "No such file or directory", 2 }, { digest.sha256_file(dir .. "/none") })
    assert.same({ nil, "Is a directory", 21 }, { digest.sha256_file(dir) })
    harness.shell("mkfifo " .. process.quote(dir .. "/pipe"))
    assert.is_nil((digest.sha256_file(dir .. "/pipe")))
  end)
end)
