-- expect: done
local dev = ...
assert(not pcall(table.insert, {}, -2 ^ 31, 1))
assert(not pcall(table.insert, { 1 }, -1e9, 1))
assert(table.remove({ 1 }, -1e9) == nil)
assert(not pcall(table.insert, {}, 1e15, 1))
