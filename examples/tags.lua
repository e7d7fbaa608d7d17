-- The folders that an image lies in are its tags: 2024/summer/beach.jpg is tagged 2024 and summer.
--
--   lua rebuild.lua --config examples/tags.lua

return {
  tags = function(image)
    local folders = image.relative_path:match("^(.*)/")
    -- A comma parts tags, so that of a folder's name has to give way.
    return folders and (folders:gsub(",", " "):gsub("/", ","))
  end,
}
