-- expect: killed, of memory
local dev = ...
local t = {}
while true do t[#t + 1] = #t end
