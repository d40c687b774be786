-- expect: done
local dev = ...
assert((''):rep(2 ^ 31) == '')
assert(('x'):rep(-2 ^ 31) == '')
assert(('x'):rep(0 / 0) == '')
