-- expect: done
local dev = ...
for _, name in ipairs { '../x', '../../x', '/etc/passwd', 'a/../b', 'a\0b', '', '.', '..', 'a..b', '.a', 'a.', 'a b', ('a'):rep(500) } do
    local ok, e = pcall(require, name)
    assert(not ok and e:find('module name', 1, true), e)
end
