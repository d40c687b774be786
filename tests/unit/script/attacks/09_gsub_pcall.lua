-- expect: killed, where it cannot be paused
local dev = ...
while true do
    pcall(string.gsub, ('x'):rep(100), 'x', function() pcall(function() while true do end end) end)
end
