-- expect: done
local dev = ...
assert(coroutine.running() == nil)
local inner = coroutine.wrap(function() return type(coroutine.running()) end)
assert(inner() == 'thread')
