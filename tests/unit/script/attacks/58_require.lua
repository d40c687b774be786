-- expect: done
local dev = ...
for _, name in ipairs { 'ffi', 'jit', 'io', 'os', 'debug', 'package', 'string.buffer', 'table.new', 'cjson', 'cjson.safe', 'iotix._core.native' } do
    assert(not pcall(require, name), name)
end
