-- expect: error, stack overflow
local dev = ...
local function f() return 1 + f() end
f()
