-- expect: killed
local dev = ...
local function again()
    dev.spawn(again)
    while true do end
end
again()
