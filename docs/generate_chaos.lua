-- Makes docs/reference/chaos-profiles.md: luajit docs/generate_chaos.lua > docs/reference/chaos-profiles.md
package.path = "lua/?.lua;" .. package.path
local profiles = require "iotix.chaos.profiles"

local function sorted(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- A fault as an author would write it.
local function text(v)
  if type(v) == "string" then return string.format("%q", v) end
  if type(v) ~= "table" then return tostring(v) end
  local parts = {}
  for _, item in ipairs(v) do parts[#parts + 1] = text(item) end
  if #v == 0 then
    for _, key in ipairs(sorted(v)) do
      parts[#parts + 1] = (key == "repeat" and "[\"repeat\"]" or key) .. " = " .. text(v[key])
    end
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

print [[
# Profiles of bad networks

<!-- made by docs/generate_chaos.lua from lua/iotix/chaos/profiles.lua: edit that -->

What `chaos.link(NAME)` of [iotix.chaos](chaos.md) does. Each is a fault under a name; any key can be said otherwise where it is used:
`chaos.link("lte", { latency = "300ms" })`. `iotix-run chaos profiles NAME` prints one as JSON. The word estimate stands where no
publication was found for a figure; no operator guarantees any of them.]]

for _, name in ipairs(sorted(profiles)) do
  local p = profiles[name]
  print(string.format("\n## %s\n\n%s (version %d).\n\n```lua\n%s\n```\n\nSource: %s.", name, p.description, p.version, text(p.fault),
    p.source))
end
