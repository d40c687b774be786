-- expect: killed
local dev = ...
local function f(...) return f(1, ...) end
f()
