--- What an image looks like, described on this machine by threads of this process: revec.describe (doc/describe.md).

local M = {}

--- @return adapter; or nil and one line when the module was built without its libraries
function M.new()
  local ok, describe = pcall(require, "revec.describe")
  if not ok then return nil, describe end
  return {
    kind = "mpeg7", where = "this machine", model = describe.name, dimension = describe.dimension, per_request = 1,
    task = describe.task,
    embed = function(_, ask, images)
      local event = ask(nil, images[1].path)
      if event.kind then return nil, event end
      return event.vectors, event.vector_error
    end,
  }
end

return M
