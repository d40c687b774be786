-- expect: done
local dev = ...
for _, name in ipairs { 'package', 'getfenv', 'setfenv', 'module', 'ffi', 'jit', 'io', 'debug', 'collectgarbage', 'newproxy', 'gcinfo', 'dofile', 'loadfile' } do
    assert(not pcall(function() return _G[name] end), name)
    assert(rawget(_G, name) == nil)
end
assert(_G._G == _G)
assert(next(_G) == nil)
