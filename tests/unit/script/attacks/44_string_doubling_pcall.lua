-- expect: killed, of memory
local dev = ...
local s = 'x'
while true do
    pcall(function() while true do s = s .. s end end)
end
