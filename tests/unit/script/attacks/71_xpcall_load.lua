-- expect: done
local dev = ...
local ok, f = xpcall(load, print, 'return _G')
assert(ok and f() == _G)
assert(not pcall(load('x = 1')))
assert(load('return y', 'x', 't', { y = 7 })() == 7)
