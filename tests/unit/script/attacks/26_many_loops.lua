-- expect: killed
-- devices: 20
local dev = ...
dev.sleep(0.05)
while true do end
