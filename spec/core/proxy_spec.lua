-- Which proxy a URL is reached through, as libcurl says: the environment is this process's own while a case lasts.
require "spec.support.paths"
local core = require "revec.core"
local uv = require "spec.support.uv"

local NAMES = { "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY" }

describe("core.proxy", function()
  local before
  before_each(function()
    before = {}
    for _, name in ipairs(NAMES) do
      before[name] = os.getenv(name)
      uv.os_unsetenv(name)
    end
  end)
  after_each(function()
    for _, name in ipairs(NAMES) do
      if before[name] then uv.os_setenv(name, before[name]) else uv.os_unsetenv(name) end
    end
  end)

  -- URL, proxy of the caller, environment; what is found
  local cases = {
    { "http://h", nil, {}, {} },
    { "http://h", nil, { http_proxy = "http://p:1" }, { "http://p:1", "http_proxy", true } },
    { "http://h", nil, { HTTP_PROXY = "http://p:1", https_proxy = "http://p:2" }, {} },
    { "https://h", nil, { HTTPS_PROXY = "p:1" }, { "p:1", "HTTPS_PROXY", true } },
    { "https://h", nil, { https_proxy = "p:1", HTTPS_PROXY = "p:2" }, { "p:1", "https_proxy", true } },
    { "http://h", nil, { ALL_PROXY = "socks5h://p" }, { "socks5h://p", "ALL_PROXY", true } },
    { "https://h", nil, { http_proxy = "p:1", all_proxy = "p:2" }, { "p:2", "all_proxy", true } },
    { "http://127.0.0.1:8000", nil, { http_proxy = "http://127.0.0.1:1" }, { "http://127.0.0.1:1", "http_proxy", true } },
    { "http://a.example", nil, { http_proxy = "p:1", no_proxy = "localhost,.example" }, {} },
    { "http://a.example", nil, { http_proxy = "p:1", NO_PROXY = "other" }, { "p:1", "http_proxy", true } },
    { "http://10.1.2.3", nil, { http_proxy = "p:1", no_proxy = "10.0.0.0/8" }, {} },
    { "http://h", "http://p:3", { http_proxy = "p:1" }, { "http://p:3", nil, true } },
    { "http://h", "http://p:3", { no_proxy = "*" }, {} },
    { "http://h", "", { http_proxy = "p:1" }, {} },
    { "http://h", "ftp://me:secret@p", {}, { "ftp://me:secret@p", nil, false } },
    { "http://h", "http://me:se/cret@p", {}, { "http://me:se/cret@p", nil, false } },
    { "https://h", nil, { https_proxy = "http://p:99999" }, { "http://p:99999", "https_proxy", false } },
    { "http://h:99999", "http://p", {}, {} },
  }
  for i, case in ipairs(cases) do
    it("finds the one that counts, case " .. i, function()
      for name, value in pairs(case[3]) do uv.os_setenv(name, value) end
      local proxy, variable, usable = core.proxy(case[1], case[2])
      assert.same({ case[4][1], case[4][2], case[4][3] }, { proxy, variable, usable })
    end)
  end
end)
