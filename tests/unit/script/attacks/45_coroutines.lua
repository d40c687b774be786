-- expect: killed, of memory
local dev = ...
local t = {}
while true do t[#t + 1] = coroutine.create(function() end) end
