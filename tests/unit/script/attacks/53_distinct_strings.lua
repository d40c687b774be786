-- expect: killed, of memory
local dev = ...
local t = {}
for i = 1, 1e6 do t[i] = 'distinct ' .. i end
