-- expect: done
local dev = ...
local t = {}
for i = 1, 30000 do t[i] = i * 7919 % 30011 end
table.sort(t)
for i = 2, #t do assert(t[i - 1] <= t[i]) end
