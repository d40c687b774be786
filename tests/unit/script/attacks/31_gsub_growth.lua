-- expect: error, 1 MB
local dev = ...
local s = 'a'
while true do s = s:gsub('.', '%0%0%0%0') end
