-- expect: error, 1 MB
local dev = ...
local t, s = {}, ('x'):rep(10000)
for i = 1, 20000 do t[i] = s end
local _ = table.concat(t, s)
