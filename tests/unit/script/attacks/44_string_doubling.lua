-- expect: killed, of memory
local dev = ...
local s = 'x'
while true do s = s .. s end
