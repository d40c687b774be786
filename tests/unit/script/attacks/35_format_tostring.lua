-- expect: error, 1 MB
local dev = ...
local s, objects = ('x'):rep(500000), {}
local o = setmetatable({}, { __tostring = function() return s end })
for i = 1, 200 do objects[i] = o end
local _ = string.format(('%s'):rep(200), unpack(objects))
