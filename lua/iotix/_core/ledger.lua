-- `ledger` of a scenario: which groups' messages are accounted for, and how they are numbered.
local native = require "iotix._core.native"
local options = require "iotix._core.options"

local M = {}

local function texts(v)
  if type(v) == "string" then return { v } end
  if type(v) ~= "table" or #v == 0 then return nil, "a list of texts" end
  local out = {}
  for i, text in ipairs(v) do
    if type(text) ~= "string" then return nil, "a list of texts" end
    out[i] = text
  end
  for key in pairs(v) do
    if type(key) ~= "number" or key > #v then return nil, "a list of texts" end
  end
  return out
end

-- The names of groups, or what iotix.group has returned.
local function group_names(v)
  if type(v) ~= "table" then return texts(v) end
  local out = {}
  for i = 1, #v do
    local g = options.unseal(v[i], "a group")
    out[i] = g and g.name or v[i]
  end
  return texts(out)
end

--- The converter of the key (options.check). check_stamp: that of `stamp`.
function M.converter(check_stamp)
  local check = options.nested({
    groups = { group_names },
    stamp = { check_stamp },
    late = { "duration", default = 5000000 },
    topics = { texts },
    username = { "string" },
    password = { "string", secret = true },
  }, "ledger")
  return function(v) return check(v == true and {} or v) end
end

--- Whether its groups are there.
function M.check_groups(ledger, groups, level)
  local names, known = {}, {}
  for i, g in ipairs(groups) do names[i], known[g.name] = g.name, true end
  for _, name in ipairs(ledger.groups or {}) do
    if not known[name] then
      local near = native.suggest(name, names)
      error("iotix.scenario: ledger: groups: there is no group \"" .. name .. "\"; valid: " .. table.concat(names, ", ")
        .. (near and "; did you mean \"" .. near .. "\"?" or ""), level + 1)
    end
  end
end

function M.has(ledger, name)
  if not ledger then return false end
  for _, one in ipairs(ledger.groups or { name }) do
    if one == name then return true end
  end
  return false
end

--- As the plan has it.
function M.plan(ledger)
  if not ledger then return nil end
  return { groups = ledger.groups, late = ledger.late, topics = ledger.topics, username = ledger.username, password = ledger.password }
end

return M
