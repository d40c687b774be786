-- expect: done
local dev = ...
assert(not load(('('):rep(20000) .. '1' .. (')'):rep(20000)))
assert(not load('local ' .. ('a,'):rep(300) .. 'a'))
local deep = ('{'):rep(30000)
assert(not load('return ' .. deep))
