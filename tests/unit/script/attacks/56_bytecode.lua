-- expect: done
local dev = ...
assert(not load('\27LJ\2\0'))
assert(not loadstring('\27Lua'))
assert(not load('\27LJ' .. ('x'):rep(100), 'x', 'b'))
assert(not pcall(load, print))
