-- expect: killed
-- devices: 100
local dev = ...
dev.sleep(0.05)
while true do end
