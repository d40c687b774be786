-- expect: done
local dev = ...
assert(load('return ' .. ('1+'):rep(30000) .. '1'))
assert(not load((' '):rep(100000)))
