-- expect: killed
local dev = ...
local meta = { __lt = function() while true do end end }
local t, u = setmetatable({}, meta), setmetatable({}, meta)
local _ = t < u, u
