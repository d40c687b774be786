-- expect: done
local dev = ...
assert(tonumber(('9'):rep(100000)) == math.huge)
assert(not tonumber(('9'):rep(100000) .. 'x'))
