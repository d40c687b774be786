-- expect: killed
local dev = ...
local function f()
    pcall(f)
    return f()
end
while true do pcall(f) end
