-- expect: error, steps
local dev = ...
string.find(('a'):rep(60000), '%f[^%w%s%p%c]x')
string.find(('a'):rep(60000), '%f[^%w%s%p%c%d%u%l%x]x' .. '%f[^%w%s%p%c%d%u%l%x]x')
string.match(('a'):rep(60000), '(.*)%f[^%w]x')
