-- expect: killed, without a pause
local dev = ...
while true do
    pcall(function() while true do end end)
end
