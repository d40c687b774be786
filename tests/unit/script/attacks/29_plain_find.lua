-- expect: done
local dev = ...
local s, p = ('a'):rep(200000), ('a'):rep(100000) .. 'b'
assert(not string.find(s, p, 1, true))
