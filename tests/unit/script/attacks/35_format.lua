-- expect: error, 1 MB
local dev = ...
local many = {}
for i = 1, 60 do many[i] = 1e308 end
assert(#string.format(('%99.99f'):rep(60), unpack(many)) < 60 * 500)
local s, strings = ('x'):rep(500000), {}
for i = 1, 200 do strings[i] = s end
local _ = string.format(('%s'):rep(200), unpack(strings))
