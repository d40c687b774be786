-- expect: done
local dev = ...
for _, name in ipairs { 'exit', 'execute', 'getenv', 'remove', 'rename', 'tmpname', 'setlocale' } do assert(os[name] == nil) end
assert(type(os.time()) == 'number' and os.date('!%Y', 0) == '1970')
assert(not pcall(os.date, ('%c'):rep(1000)))
