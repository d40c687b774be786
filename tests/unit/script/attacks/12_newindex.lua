-- expect: killed
local dev = ...
local meta = { __newindex = function() while true do end end }
local t, u = setmetatable({}, meta), setmetatable({}, meta)
local _ = (function() t.x = 1 end)(), u
