-- expect: alive
local dev = ...
while true do
    local began = dev.cpu()
    repeat until dev.cpu() - began > 4500
    dev.sleep(0)
end
