local revec = require "revec" -- lua5.4 examples/quick_start.lua STORAGE [URL]
local report, why = revec.rebuild { storage_path = arg[1], api_url = arg[2] }
if not report then error(why, 0) end
print(("%s: %d of %d succeeded, %d failed"):format(report.reason, report.succeeded, report.total, report.failed))
os.exit(report.reason == "done" and report.failed == 0 and 0 or 1)
