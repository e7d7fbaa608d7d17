-- What an image looks like as a vector: the same picture is the same in every format, and no file brings the process down.
-- The pictures are made by spec/support/picture.c.

local paths = require "spec.support.paths"
local harness = require "spec.support.harness"
local process = require "spec.support.process"
local storages = require "spec.support.storages"
local describe_image = require "revec.describe"

local folder

-- By size: all kinds that are used in it. One process makes them all, as starting it with its libraries takes longest.
local every = { "bmp", "gif", "jpeg", "png", "webp" }
local pictures = {
  ["96 64"] = { "bmp", "gif", "jpeg", "png", "webp", "interlaced", "palette", "grey", "inks", "progressive", "clear", "clear-gif",
    "clear-webp", "animated" },
  ["300 200"] = { "bmp", "gif", "jpeg", "png", "webp", "grey", "inks", "progressive", "clear-webp" },
  ["24 16"] = { "jpeg", "png" }, ["100 70"] = { "jpeg", "png" }, ["480 320"] = { "jpeg", "png" }, ["1500 1000"] = { "jpeg", "png" },
  ["600 400"] = { "png" }, ["16 16"] = { "webp" }, ["1 1"] = every, ["1 300"] = every, ["300 1"] = every, ["63 65"] = every,
}

-- The path of a picture of a kind and a size.
local function picture(kind, size) return folder .. "/" .. kind .. " " .. (size or "96 64") end

setup(function()
  folder = harness.tempdir()
  -- The maker itself may leak: it is no part of revec.
  local words = { "ASAN_OPTIONS=detect_leaks=0", process.quote(paths.build .. "/picture") }
  for size, kinds in pairs(pictures) do
    for _, kind in ipairs(kinds) do words[#words + 1] = kind .. " " .. process.quote(picture(kind, size)) .. " " .. size end
  end
  storages.shell(folder, table.concat(words, " "))
end)
teardown(harness.cleanup)

-- A file with these bytes; returns its path.
local function file(bytes, name)
  local path = folder .. "/" .. (name or "file.jpg")
  harness.write(path, bytes)
  return path
end

local function bytes_of(kind, size) return assert(harness.read(picture(kind, size))) end

-- The numbers of little-endian float32.
local function numbers(vector)
  local list = {}
  for i = 1, #vector, 4 do
    local a, b, c, d = vector:byte(i, i + 3)
    local exponent, mantissa = d % 128 * 2 + math.floor(c / 128), (c % 128 * 256 + b) * 256 + a
    local n = exponent == 0 and mantissa * 2 ^ -149 or (1 + mantissa * 2 ^ -23) * 2 ^ (exponent - 127)
    list[#list + 1] = d >= 128 and -n or n
  end
  return list
end

local function dot(a, b)
  local sum = 0
  a, b = numbers(a), numbers(b)
  for i = 1, #a do sum = sum + a[i] * b[i] end
  return sum
end

local function vector_of(path, options)
  local vector, width, height = describe_image.file(path, options)
  assert(vector, height)
  assert.equal(4 * describe_image.dimension, #vector)
  assert.is_true(math.abs(dot(vector, vector) - 1) < 1e-5)
  return vector, width, height
end

local function alike(path, other) return dot((vector_of(path)), (vector_of(other))) end

-- The kind and the line of a refusal, without the path before it.
local function refusal(path, options)
  local vector, kind, why = describe_image.file(path, options)
  assert.is_nil(vector)
  assert.equal(path .. ": ", why:sub(1, #path + 2))
  assert.is_nil(why:find("\n"))
  return kind, why:sub(#path + 3)
end

-- Bytes of whole numbers, the least significant first, or last.
local function little(n, size)
  local bytes = {}
  for i = 1, size do bytes[i], n = string.char(n % 256), math.floor(n / 256) end
  return table.concat(bytes)
end
local function big(n, size) return little(n, size):reverse() end

local function bmp(width, height, pixels)
  return "BM" .. little(54 + #pixels, 4) .. little(0, 4) .. little(54, 4) .. little(40, 4) .. little(width, 4) .. little(height, 4) ..
    little(1, 2) .. little(24, 2) .. little(0, 24) .. pixels
end

-- A JPEG with an EXIF orientation right behind its start, in either byte order.
local function oriented(jpeg, orientation, number)
  local mark = number == big and "MM\0*" or "II*\0"
  local tiff = mark .. number(8, 4) .. number(1, 2) .. number(0x0112, 2) .. number(3, 2) .. number(1, 4) .. number(orientation, 2) ..
    "\0\0" .. number(0, 4)
  return jpeg:sub(1, 2) .. "\255\225" .. big(#tiff + 8, 2) .. "Exif\0\0" .. tiff .. jpeg:sub(3)
end

describe("a description", function()
  it("is the same in every format", function()
    local reference = picture("png")
    for _, kind in ipairs { "png", "bmp", "jpeg", "webp", "interlaced", "progressive", "inks" } do
      local _, width, height = vector_of(picture(kind))
      assert.same({ 96, 64 }, { width, height })
      assert.is_true(alike(picture(kind), reference) > 0.999, kind)
    end
    for _, kind in ipairs { "gif", "palette", "grey" } do
      local likeness = alike(picture(kind), reference)
      assert.is_true(likeness > 0.7 and likeness < 0.999, kind .. " " .. likeness)
    end
  end)

  it("does not depend on the size", function()
    for _, size in ipairs { "24 16", "100 70", "480 320", "1500 1000" } do
      for _, kind in ipairs { "jpeg", "png" } do assert.is_true(alike(picture(kind, size), picture("png", "600 400")) > 0.95, kind .. size) end
    end
  end)

  it("is there for images of one pixel, one row, one column and one colour", function()
    for _, size in ipairs { "1 1", "1 300", "300 1", "63 65" } do
      for _, kind in ipairs { "jpeg", "png", "gif", "bmp", "webp" } do
        local _, width, height = vector_of(picture(kind, size))
        assert.equal(size, ("%d %d"):format(width, height))
      end
    end
    local black, grey, white = bmp(1, 1, "\0\0\0\0"), bmp(1, 1, "\127\127\127\0"), bmp(1, 1, "\255\255\255\0")
    local function pair(a, b) return alike(file(a, "a.bmp"), file(b, "b.bmp")) end
    assert.is_true(pair(black, white) < pair(black, grey))
    assert.is_true(pair(grey, white) < 0.95)
    assert.is_true(pair(white, bmp(2, -2, ("\255"):rep(6) .. "\0\0" .. ("\255"):rep(6) .. "\0\0")) > 0.99999)
  end)

  it("tells left from right and up from down, and one colour from another", function()
    local row = ("\0\0\255"):rep(32) .. ("\255\0\0"):rep(32)
    local image = file(bmp(64, 64, row:rep(64)), "a.bmp")
    for _, pixels in ipairs { (("\255\0\0"):rep(32) .. ("\0\0\255"):rep(32)):rep(64), ("\0\0\255"):rep(2048) .. ("\255\0\0"):rep(2048),
      (("\0\255\0"):rep(32) .. ("\255\0\0"):rep(32)):rep(64) } do
      assert.is_true(alike(image, file(bmp(64, 64, pixels), "b.bmp")) < 0.9)
    end
    assert.is_true(alike(image, file(bmp(128, 32, (("\0\0\255"):rep(64) .. ("\255\0\0"):rep(64)):rep(32)), "b.bmp")) > 0.9999)
  end)

  it("goes by what is in the file, not by its name", function()
    for _, kind in ipairs { "png", "gif", "webp", "bmp" } do
      assert.is_true(alike(file(bytes_of(kind), kind .. ".jpg"), picture(kind)) > 0.99999)
    end
  end)

  it("lays what is transparent over white", function()
    local left, white = {}, {}
    for y = 1, 64 do
      left[y] = {}
      white[y] = ("\255"):rep(48 * 3)
    end
    local pixels = bytes_of("bmp"):sub(55)
    for y = 1, 64 do left[y] = pixels:sub((y - 1) * 288 + 1, (y - 1) * 288 + 144) .. white[y] end
    local over_white = file(bmp(96, 64, table.concat(left)), "white.bmp")
    for _, kind in ipairs { "clear", "clear-webp", "clear-gif" } do
      assert.is_true(alike(picture(kind), over_white) > (kind == "clear-gif" and 0.85 or 0.99), kind)
    end
  end)

  it("takes the first frame of what is animated", function()
    assert.is_true(alike(picture("animated"), picture("gif")) > 0.999)
    for _, kind in ipairs { "webp", "clear-webp" } do
      local still, black = bytes_of(kind), bytes_of("webp", "16 16")
      -- What follows the 12 bytes of RIFF and, where there is one, the header of 18 that an animation has as well.
      local function frame(webp, width, height)
        local data = webp:sub(webp:sub(13, 16) == "VP8X" and 31 or 13)
        return "ANMF" .. little(16 + #data, 4) .. little(0, 6) .. little(width - 1, 3) .. little(height - 1, 3) .. little(100, 3) .. "\0" .. data
      end
      local body = "WEBPVP8X" .. little(10, 4) .. "\18\0\0\0" .. little(95, 3) .. little(63, 3) .. "ANIM" .. little(6, 4) .. little(0, 6) ..
        frame(still, 96, 64) .. frame(black, 16, 16)
      local _, width, height = vector_of(file("RIFF" .. little(#body, 4) .. body, "animated.webp"))
      assert.same({ 96, 64 }, { width, height })
      assert.is_true(alike(folder .. "/animated.webp", picture(kind)) > 0.99999, kind)
    end
  end)

  it("stands upright as EXIF says", function()
    local jpeg = bytes_of("jpeg")
    -- Turned by hand: where a pixel of the upright picture comes from, for each orientation.
    local w, h, pixels = 96, 64, bytes_of("bmp"):sub(55)
    local from = {
      function(x, y) return x, y end, function(x, y) return w - 1 - x, y end, function(x, y) return w - 1 - x, h - 1 - y end,
      function(x, y) return x, h - 1 - y end, function(x, y) return y, x end, function(x, y) return y, h - 1 - x end,
      function(x, y) return w - 1 - y, h - 1 - x end, function(x, y) return w - 1 - y, x end,
    }
    for orientation = 1, 8 do
      local wide = orientation <= 4 and w or h
      local rows = {}
      for y = (orientation <= 4 and h or w) - 1, 0, -1 do -- a BMP goes from the bottom up
        for x = 0, wide - 1 do
          local fx, fy = from[orientation](x, y)
          local at = ((h - 1 - fy) * w + fx) * 3
          rows[#rows + 1] = pixels:sub(at + 1, at + 3)
        end
      end
      local upright = file(bmp(wide, w * h / wide, table.concat(rows)), "upright.bmp")
      for _, number in ipairs { little, big } do
        local turned = file(oriented(jpeg, orientation, number), "turned.jpg")
        local _, width, height = vector_of(turned)
        assert.same({ wide, w * h / wide }, { width, height })
        assert.is_true(alike(turned, upright) > 0.999, "orientation " .. orientation)
      end
    end
    for _, odd in ipairs { 0, 9, 65535 } do
      assert.is_true(alike(file(oriented(jpeg, odd, little), "odd.jpg"), picture("jpeg")) > 0.99999)
    end
  end)

  it("is named, so that an index remembers what its vectors are", function()
    assert.equal("mpeg7-cld-ehd-1", describe_image.name)
  end)
end)

describe("a file that cannot be described", function()
  it("is unreadable", function()
    assert.same({ "unreadable_file", "No such file or directory" }, { refusal(folder .. "/nowhere.jpg") })
    assert.same({ "unreadable_file", "Is a directory" }, { refusal(folder) })
    assert.same({ "unreadable_file", "not a file" }, { refusal("/dev/null") })
    storages.shell(folder, "mkfifo pipe.jpg")
    assert.same({ "unreadable_file", "not a file" }, { refusal(folder .. "/pipe.jpg") })
  end)

  it("is no image", function()
    assert.same({ "bad_image", "the file is empty" }, { refusal(file("")) })
    for _, bytes in ipairs { "x", "text\n", ("\0"):rep(1000), "<svg/>", "\255\216", "\137PNG\r\n\26", "GIF88a", "RIFF\0\0\0\0WAVE" } do
      assert.same({ "bad_image", "not a JPEG, PNG, GIF, WebP or BMP image" }, { refusal(file(bytes)) })
    end
    for _, start in ipairs { "\255\216\255", "\137PNG\r\n\26\n", "GIF89a", "RIFF\8\0\0\0WEBP", "BM" } do
      for _, rest in ipairs { "", ("\0"):rep(100), ("x"):rep(100), ("\255"):rep(1000) } do
        local kind = refusal(file(start .. rest))
        assert.is_true(kind == "bad_image" or kind == "too_large", kind)
      end
    end
  end)

  it("has too many pixels, whatever the format, and is not decoded for it", function()
    local function size_line(limit, w, h) return ("%d x %d pixels, more than the limit of %d"):format(w, h, limit) end
    local jpeg = bytes_of("jpeg")
    local frame = assert(jpeg:find("\255\192\0\17\8", 1, true))
    local huge = {
      jpg = jpeg:sub(1, frame + 4) .. big(30000, 2) .. big(30000, 2) .. jpeg:sub(frame + 9),
      png = bytes_of("png"):sub(1, 16) .. big(30000, 4) .. big(30000, 4) .. bytes_of("png"):sub(25),
      gif = bytes_of("gif"):sub(1, 6) .. little(30000, 2) .. little(30000, 2) .. bytes_of("gif"):sub(11),
      bmp = bmp(30000, -30000, ""),
    }
    for extension, bytes in pairs(huge) do
      assert.same({ "too_large", size_line(100000000, 30000, 30000) }, { refusal(file(bytes, "huge." .. extension)) }, extension)
    end
    local webp = bytes_of("webp")
    assert.same({ "too_large", size_line(100000000, 16383, 16383) },
      { refusal(file(webp:sub(1, 26) .. little(16383, 2) .. little(16383, 2) .. webp:sub(31), "huge.webp")) })
    for _, kind in ipairs { "jpeg", "png", "gif", "webp", "bmp" } do
      assert.same({ "too_large", size_line(6143, 96, 64) }, { refusal(picture(kind), { max_pixels = 6143 }) })
      assert.is_truthy(describe_image.file(picture(kind), { max_pixels = 6144 }))
    end
    assert.equal("too_large", (refusal(file(bmp(2147483647, 2147483647, ""), "huge.bmp"))))
    assert.equal("too_large", (refusal(file(bytes_of("png"):sub(1, 16) .. ("\255"):rep(8) .. bytes_of("png"):sub(25), "huge.png"))))
  end)

  it("is not trusted when it says one size and has another", function()
    -- A GIF whose frame is larger than its screen, which is what the limit goes by.
    local gif = bytes_of("gif")
    local frame = assert(gif:find(",\0\0\0\0" .. little(96, 2) .. little(64, 2), 1, true))
    local big_frame = gif:sub(1, frame + 4) .. little(60000, 2) .. little(60000, 2) .. gif:sub(frame + 9)
    assert.equal("bad_image", (refusal(file(big_frame, "frame.gif"))))
  end)

  it("is larger than 256 MB", function()
    local sparse = assert(io.open(file(bytes_of("bmp"), "large.bmp"), "r+b"))
    sparse:seek("set", 256 * 1024 * 1024)
    sparse:write("x")
    sparse:close()
    assert.same({ "too_large", "268435457 bytes, more than the limit of 268435456" }, { refusal(folder .. "/large.bmp") })
  end)

  it("was cut: that is said, not half a picture described", function()
    local cut = "cut: the file ends before the image does"
    for _, kind in ipairs { "jpeg", "progressive", "grey", "inks", "png", "gif", "bmp", "webp", "clear-webp" } do
      local whole = bytes_of(kind, "300 200")
      for _, share in ipairs { 0.3, 0.5, 0.7, 0.9, 0.97 } do
        local word, why = refusal(file(whole:sub(1, math.floor(#whole * share)), "cut"))
        assert.equal("bad_image", word)
        if kind ~= "webp" and kind ~= "clear-webp" then assert.equal(cut, why, kind .. " " .. share) end
      end
    end
  end)

  it("is not one that lacks only its end marker", function()
    for _, kind in ipairs { "jpeg", "gif" } do
      local whole = bytes_of(kind, "300 200")
      assert.is_true(alike(file(whole:sub(1, kind == "jpeg" and -3 or -2), "unmarked"), picture(kind, "300 200")) > 0.99999)
    end
  end)

  it("is cut or overwritten anywhere without the process noticing more than a line", function()
    local seed = 1
    local function random(n)
      seed = (seed * 16807) % 2147483647
      return seed % n
    end
    local outcomes = {}
    for _, kind in ipairs { "jpeg", "progressive", "inks", "png", "interlaced", "palette", "clear", "gif", "animated", "webp",
      "clear-webp", "bmp" } do
      local whole = bytes_of(kind)
      for i = 1, 60 do
        local at = random(i % 3 == 0 and 100 or #whole)
        local damaged = whole:sub(1, at)
        if i % 2 == 1 then damaged = damaged .. string.char(random(256), random(256)) .. whole:sub(at + 3) end
        local vector, word, why = describe_image.file(file(damaged, "damaged"), { max_pixels = 1000000 })
        outcomes[vector and "fine" or word] = true
        if not vector then assert.is_nil(why:find("\n")) end
      end
    end
    assert.is_true(outcomes.fine and outcomes.bad_image)
  end)

  it("is a JPEG of endless scans", function()
    local progressive = bytes_of("progressive")
    local last
    for at in progressive:gmatch("()\255\218") do last = at end
    local scan = progressive:sub(last, -3)
    local many = progressive:sub(1, -3) .. scan:rep(200) .. "\255\217"
    assert.same({ "bad_image", "more than 100 scans" }, { refusal(file(many)) })
  end)

  it("leads to no output", function()
    local script = file(([[
      package.cpath = %q
      local describe = require "revec.describe"
      for i = 1, #arg do describe.file(arg[i]) end
    ]]):format(package.cpath), "quiet.lua")
    local command = harness.lua_words()
    command[#command + 1] = script
    for _, kind in ipairs { "jpeg", "progressive", "png", "interlaced", "palette", "gif", "webp", "bmp" } do
      local whole = bytes_of(kind)
      command[#command + 1] = file(whole:sub(1, math.floor(#whole / 2)), "half-" .. kind)
      command[#command + 1] = file(whole:sub(1, 30), "start-" .. kind)
      for at = 14, 130, 4 do command[#command + 1] = file(whole:sub(1, at) .. "\85" .. whole:sub(at + 2), at .. kind) end
      command[#command + 1] = file(whole:sub(1, -17) .. "\85" .. whole:sub(-15), "end-" .. kind)
    end
    local result = harness.run { command = command }
    assert.same({ 0, "" }, { result.code, result.output })
  end)
end)

describe("the arguments of a description", function()
  it("are named when they are wrong", function()
    local function raised(...)
      local ok, why = pcall(describe_image.file, ...)
      assert.is_false(ok)
      return (why:gsub("^[^:]*:%d+: ", ""))
    end
    assert.equal("path: string expected, neither empty nor with NUL bytes, got no value", raised())
    for _, path in ipairs { "", "a\0b" } do
      assert.equal("path: string expected, neither empty nor with NUL bytes, got string", raised(path))
    end
    for _, path in ipairs { 5, {}, true, print, io.stdout } do assert.is_truthy(raised(path):find("^path: string expected")) end
    assert.equal("max_pixels: integer 1..1000000000 expected, got 0", raised("x", { max_pixels = 0 }))
    assert.equal("max_pixels: integer 1..1000000000 expected, got string", raised("x", { max_pixels = "5" }))
    assert.is_false(pcall(describe_image.file, "x", 5))
  end)

  it("leave no descriptor open", function()
    local before = #harness.list("/proc/self/fd")
    for _, kind in ipairs { "jpeg", "png", "gif", "webp", "bmp" } do
      describe_image.file(picture(kind))
      describe_image.file(file(bytes_of(kind):sub(1, 40), "cut"))
    end
    describe_image.file(folder)
    assert.equal(before, #harness.list("/proc/self/fd"))
  end)
end)
