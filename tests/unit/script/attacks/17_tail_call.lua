-- expect: killed, without a pause
local dev = ...
local function f() return f() end
f()
