-- expect: killed
local dev = ...
local t = setmetatable({}, { __tostring = function() while true do end end })
tostring(t)
print(t)
