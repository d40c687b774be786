-- expect: killed
local dev = ...
local t = {}
for i = 0, 40 do t[2 ^ i] = 1 end
while true do
    pcall(table.insert, t, 1, 1)
    pcall(table.concat, t)
    pcall(table.sort, t)
    pcall(table.remove, t, 1)
end
