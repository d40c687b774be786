-- expect: alive
local dev = ...
while true do
    for i = 1, 2000 do local _ = { { i }, 'garbage' .. i } end
    dev.sleep(0.005)
end
