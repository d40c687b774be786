-- expect: done
local dev = ...
assert(not pcall(function() string.rep = nil end))
assert(not pcall(rawset, string, 'rep', print))
assert(not pcall(setmetatable, string, {}))
assert(('x'):rep(3) == 'xxx')
