-- expect: done
local dev = ...
for _, t in ipairs { _G, string, table, math, bit, os, coroutine, dev } do
    assert(not pcall(rawset, t, 'x', 1))
    assert(not pcall(table.insert, t, 1))
    assert(not pcall(table.insert, t, 1, 1))
    assert(not pcall(table.remove, t))
    assert(not pcall(table.sort, t))
    assert(not pcall(setmetatable, t, {}))
    assert(not pcall(function() t.x = 1 end))
    assert(getmetatable(t) == false and next(t) == nil)
end
