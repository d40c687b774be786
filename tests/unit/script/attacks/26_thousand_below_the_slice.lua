-- expect: alive
-- devices: 1000
local dev = ...
dev.sleep(0.05)
while true do
    local began = dev.cpu()
    repeat until dev.cpu() - began > 4500
    dev.sleep(0)
end
