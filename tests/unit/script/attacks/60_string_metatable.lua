-- expect: done
local dev = ...
assert(getmetatable('') == nil)
assert(getmetatable(1) == nil)
assert(not pcall(setmetatable, '', {}))
