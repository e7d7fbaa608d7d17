--- Whether a run should go on, judged by what becomes of its images (doc/reliability.md, "Ends of a run"). Asks nobody, stops nothing.

local Judge = {}
Judge.__index = Judge

local REFUSED_AFTER = 100 -- failures of the backend's doing in a row, without a success, end the run
local DENIED_AFTER = 5    -- denials in a row end it, once anything was accepted
local ODD_AFTER = 20      -- answers that are all no answers end it
local GONE_AFTER = 100    -- files in a row that are gone cast doubt on the storage

-- Kinds that are the backend's doing, not the image's.
local backends_doing = { backend_error = true, overloaded = true, timeout = true, cut_short = true, bad_answer = true }

-- An answer that is too large has a status; an image that is has none.
local function is_backends_doing(cause) return backends_doing[cause.kind] or (cause.kind == "too_large" and cause.status) end

--- @param max_failures "20", "5%", or nil
local function new(max_failures)
  local amount, percent = (max_failures or ""):match("^(%d+)(%%?)$")
  return setmetatable({
    most = tonumber(amount), is_share = percent == "%",
    failures_in_row = 0, -- of the backend's doing
    denied_in_row = 0,
    gone_in_row = 0,     -- images whose files are
    odd_answers = 0,     -- bad answers before the first good one
    accepted = false,    -- the backend has done something for us
  }, Judge)
end

--- A good answer came.
function Judge:accept()
  self.accepted = true
end

--- An image is done without a failure: that no row of failures goes on.
function Judge:no_failure()
  self.failures_in_row, self.denied_in_row, self.gone_in_row = 0, 0, 0
end

--- An image's file is gone. Whether so many in a row are that the storage itself may be.
function Judge:gone()
  self.gone_in_row = self.gone_in_row + 1
  return self.gone_in_row % GONE_AFTER == 0
end

--- A request was denied. Whether that ends the run.
function Judge:denied()
  self.denied_in_row = self.denied_in_row + 1
  return not self.accepted or self.denied_in_row >= DENIED_AFTER
end

--- A request has failed for another reason. Whether the backend refuses everything, which ends the run.
-- @param cause kind, and lost: whether it says that there is no such route
-- @param succeeded how many images have so far
function Judge:failed(cause, succeeded)
  self.denied_in_row = 0
  if is_backends_doing(cause) then self.failures_in_row = self.failures_in_row + 1 end
  local odd = (cause.kind == "bad_answer" and not self.accepted) or (cause.lost and succeeded == 0)
  if odd then self.odd_answers = self.odd_answers + 1 end
  return odd and self.odd_answers >= ODD_AFTER or self.failures_in_row >= REFUSED_AFTER
end

--- Whether max_failures is reached: so many, or such a share of what is done, from the hundredth on.
function Judge:too_many(failed, done)
  if not self.most then return false end
  if not self.is_share then return failed >= self.most end
  return done >= 100 and failed * 100 >= self.most * done
end

return { new = new }
