-- expect: done
local dev = ...
assert(string.dump == nil)
assert((''):find('') and ('').dump == nil)
