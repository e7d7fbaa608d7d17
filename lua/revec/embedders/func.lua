--- A Lua function of the user's as an embedder: it is given an image (doc/hooks.md) and gives an array of numbers, or nil and
-- why there is none, which fails the image. It blocks whoever drives the job. An error in it ends the run.

local core = require "revec.core"

local M = {}

--- @param settings call: the function; model: what the index is to remember of it ("function")
-- @return adapter
function M.new(settings)
  return {
    kind = "func", where = "a Lua function", model = settings.model or "function", dimension = settings.dimension, per_request = 1,
    embed = function(_, _, images)
      local numbers, why = settings.call(images[1])
      if numbers == nil then
        return nil, { kind = "rejected", message = core.clean(tostring(why or "the function gave no vector")), attempts = 1 }
      end
      local kind = type(numbers)
      if kind ~= "table" and kind ~= "string" then return { false }, "an array of numbers expected, got " .. kind end
      local ok, vector, wrong = pcall(core.vector, numbers) -- raises for what is no array of finite numbers
      return { ok and vector or false }, ok and wrong or not ok and vector or nil
    end,
  }
end

return M
