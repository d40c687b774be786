-- expect: killed
local dev = ...
while true do
    pcall(string.find, ('a'):rep(30), ('a?'):rep(30) .. ('a'):rep(30))
end
