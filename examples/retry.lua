-- A policy for failures: what to do about each kind once revec's own retries are used up.
--
--   lua rebuild.lua --config examples/retry.lua

local verdicts = {
  overloaded = "retry", -- the image is not at fault: up to --max-retries further rounds, with retries of their own
  timeout = "retry",
  not_found = "ignore", -- deleted since the walk: nothing to record
}

return {
  on_failure = function(_, failure)
    if failure.message:lower():find("no space left", 1, true) then return "stop" end -- every other image would fail too
    return verdicts[failure.kind] -- nil: the image counts as failed and goes on record
  end,
}
