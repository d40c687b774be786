-- expect: done
local dev = ...
local ok, e = xpcall(error, function(m) return m end, 'x')
assert(not ok and e == 'x')
assert(not pcall(function() return debug end))
