-- The progress bar: its text at any width, and the command on a real terminal (made by script(1)).
require "spec.support.paths"
local bars = require "revec.cli.bar"
local core = require "revec.core"
local harness = require "spec.support.harness"
local messages = require "revec.cli.messages"
local server = require "spec.support.server"

local function snapshot(changes)
  local s = { total = 1000, total_known = true, done = 400, failed = 2, retries = 7, active = 5, limit = 5, seconds = 10,
              state = "running" }
  for key, value in pairs(changes or {}) do s[key] = value end
  return s
end

describe("the bar's text", function()
  local say = messages.catalogue("zh")

  it("never fills the terminal's width, wide characters and all", function()
    local bar = bars.new(say)
    bar:rate(snapshot { done = 300, seconds = 8 })
    for width = 1, 220 do
      local text = bar:text(snapshot(), width, "很长的中文文件名很长的中文文件名很长的中文文件名.jpg")
      local _, columns = core.fit(text)
      assert.is_true(columns < width or width == 1, width .. ": " .. text)
    end
  end)

  it("says what matters most first", function()
    local bar = bars.new(say)
    bar:rate(snapshot { done = 300, seconds = 8 })
    assert.equal("400/1000 40% | 50.0 张/秒", bar:text(snapshot(), 30))
    assert.equal("400/1000 40% | 50.0 张/秒 | 剩余 0:12", bar:text(snapshot(), 41))
    assert.equal("[" .. ("#"):rep(12) .. ("-"):rep(18) .. "] 400/1000 40% | 50.0 张/秒 | 剩余 0:12 | 失败 2 | 5/5 | 重试 7 | 图.jpg",
      bar:text(snapshot(), 200, "图.jpg"))
  end)

  it("does not guess while the total is unknown", function()
    local text = bars.new(say):text(snapshot { total_known = false }, 200)
    assert.matches("400/1000%+ | ", text)
    assert.is_nil(text:find("%", 1, true))
    assert.is_nil(text:find("剩余", 1, true))
  end)

  it("says when the run is paused or throttled", function()
    assert.matches("已暂停", bars.new(say):text(snapshot { state = "paused" }, 80))
    assert.matches("限流", bars.new(say):text(snapshot { state = "throttled" }, 80))
  end)

  it("shows a name that commands terminals as harmless text", function()
    assert.is_nil(bars.new(say):text(snapshot(), 200, "\27[2J\n.jpg"):find("%c"))
  end)

  it("has the rate of the last seconds, not of the whole run", function()
    local bar = bars.new(say)
    for second = 0, 20 do bar:rate { seconds = second, done = second <= 10 and second * 100 or 1000 + (second - 10) * 10 } end
    assert.is_true(math.abs(bar:rate { seconds = 21, done = 1110 } - 10) < 0.01)
  end)
end)

describe("the command on a terminal", function()
  local s
  before_each(function()
    s = server.start [[return function(request, reply)
      if request.id == "bad" then return reply.json(400, '{"detail":"bad image"}') end
      reply.sleep(0.15) reply.embedding(request.id)
    end]]
  end)
  after_each(function()
    s:stop()
    harness.cleanup()
  end)

  local function on_terminal(columns, args, env)
    local storage = harness.tree { "1.jpg", "2.jpg", "bad.jpg", "很长的中文文件名.png", "4.jpg" }
    local command = string.format("stty cols %d rows 24; %s '%s/rebuild.lua' --storage-path '%s' --api-url %s --no-skip-indexed --max-concurrent 1 --lang zh %s",
      columns, harness.lua_command(), harness.root, storage, s.url, args or "")
    local all = { TERM = "xterm" }
    for key, value in pairs(env or {}) do all[key] = value end
    return harness.run { command = { "script", "-qec", command, "/dev/null" }, env = all }
  end

  -- What stands on the terminal in the end: only what a bar writes is understood (\r, \27[J, \27[K).
  local function screen(output)
    local lines, line = {}, ""
    for piece, control in output:gsub("\r\n", "\n"):gmatch("([^\r\n\27]*)([\r\n\27]?%[?[JK]?)") do
      line = line .. piece
      if control:sub(1, 1) == "\n" then
        lines[#lines + 1], line = line, ""
      elseif control:sub(1, 1) == "\r" then
        line = ""
      end
    end
    return lines
  end

  for _, columns in ipairs { 40, 200 } do
    it("draws a bar of less than " .. columns .. " columns, and leaves none behind", function()
      local result = on_terminal(columns)
      assert.equal(1, result.code)
      local widest = 0
      for drawn in result.stdout:gmatch("\r([^\r\n\27]*%d/5[^\r\n\27]*)\27%[K") do
        local _, width = core.fit(drawn)
        widest = math.max(widest, width)
      end
      assert.is_true(widest > 5 and widest < columns, widest)
      for _, line in ipairs(screen(result.stdout)) do assert.matches("^%d%d%d%d%-%d%d%-%d%d ", line) end
    end)
  end

  it("shows warnings and errors above the bar, and no line for each image", function()
    local result = on_terminal(100)
    local text = table.concat(screen(result.stdout), "\n")
    assert.matches("ERROR %- API 调用失败: 400 %- bad image\n.*ERROR %- ✗ 失败: bad\n", text)
    assert.is_nil(text:find("处理图像", 1, true))
    assert.matches("总图像数: 5", text)
  end)

  it("draws none when told not to, or on a dumb terminal", function()
    for _, result in ipairs { on_terminal(100, "--progress never"), on_terminal(100, "", { TERM = "dumb" }) } do
      assert.is_nil(result.stdout:find("\27", 1, true))
      assert.matches("处理图像: 1.jpg", result.stdout)
    end
  end)
end)
