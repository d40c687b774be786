-- A model over the model that it extends. Objects merge by key, lists whose elements are objects with a `name` merge by name (the
-- base's order, new ones behind), null removes a key, and every other value replaces. So does an object that says what it is:
-- a generator, encoding, trigger or action of another `type` than the base's would be no good with the base's keys.
--
-- Every value keeps the place it came from: { line, column, key_line, key_column, file }.
local json = require "iotix._core.json"

local M = {}

local child = function(pointer, token) return pointer .. "/" .. json.escape_pointer(token) end

-- Notes the places of a value and of all below it under another pointer.
local function adopt(value, from, at, to, pointer)
  to[pointer] = from[at]
  local kind = json.type(value)
  if kind == "array" then
    for i = 1, #value do adopt(value[i], from, child(at, i - 1), to, child(pointer, i - 1)) end
  elseif kind == "object" then
    for _, key in ipairs(json.keys(value)) do adopt(value[key], from, child(at, key), to, child(pointer, key)) end
  end
  return value
end

-- Place of every element by its name; nil when some element is no object with a name, or two share one.
local function by_name(list)
  local places = {}
  for i = 1, #list do
    local name = json.type(list[i]) == "object" and list[i].name
    if type(name) ~= "string" or places[name] then return nil end
    places[name] = i
  end
  return places
end

local tagged = { generator = true, encoding = true, trigger = true, action = true, items = true }

-- Whether an object of another type takes the place of the base's.
local function replaces(key, parent, base, over)
  return (tagged[key] or parent == "properties") and over.type ~= nil and over.type ~= base.type
end

local merge

-- What a merge needs to know: a: places of the base, b: of the model over it, to: of the result.
local function merge_list(m, base, over, pa, pb, pointer)
  local places, names = by_name(base), by_name(over)
  if not places or not names or #over == 0 then return adopt(over, m.b, pb, m.to, pointer) end
  local out, n = json.array(), 0
  for i = 1, #base do
    n = n + 1
    local k = names[base[i].name]
    local here = child(pointer, n - 1)
    if k then
      out[n] = merge(m, base[i], over[k], child(pa, i - 1), child(pb, k - 1), here)
    else
      out[n] = adopt(base[i], m.a, child(pa, i - 1), m.to, here)
    end
  end
  for k = 1, #over do
    if not places[over[k].name] then
      n = n + 1
      out[n] = adopt(over[k], m.b, child(pb, k - 1), m.to, child(pointer, n - 1))
    end
  end
  m.to[pointer] = m.b[pb]
  return out
end

local function merge_object(m, base, over, pa, pb, pointer, parent)
  local keys, out = {}, {}
  local function take(key, value)
    if out[key] == nil then keys[#keys + 1] = key end
    out[key] = value
  end
  for _, key in ipairs(json.keys(base)) do
    if over[key] == nil then
      take(key, adopt(base[key], m.a, child(pa, key), m.to, child(pointer, key)))
    elseif over[key] ~= json.null then
      take(key, merge(m, base[key], over[key], child(pa, key), child(pb, key), child(pointer, key), key, parent))
    end
  end
  for _, key in ipairs(json.keys(over)) do
    if base[key] == nil and over[key] ~= json.null then
      take(key, adopt(over[key], m.b, child(pb, key), m.to, child(pointer, key)))
    end
  end
  m.to[pointer] = m.b[pb]
  return json.object(out, keys)
end

function merge(m, base, over, pa, pb, pointer, key, parent)
  local ta, tb = json.type(base), json.type(over)
  if ta == "object" and tb == "object" and not replaces(key, parent, base, over) then
    return merge_object(m, base, over, pa, pb, pointer, key)
  elseif ta == "array" and tb == "array" then
    return merge_list(m, base, over, pa, pb, pointer)
  end
  return adopt(over, m.b, pb, m.to, pointer)
end

-- A model is not what it extends: these are its own.
local own = { id = true, version = true, extends = true, ["$schema"] = true }

--- The merged document and its places. Neither of the two is changed.
-- @param base table document, @param base_places table its places
-- @param over table document, @param over_places table its places
function M.merge(base, base_places, over, over_places)
  local rest, keys = {}, {}
  for _, key in ipairs(json.keys(base)) do
    if not own[key] or over[key] ~= nil then -- what is replaced keeps its place
      keys[#keys + 1] = key
      rest[key] = base[key]
    end
  end
  local places = {}
  local m = { a = base_places, b = over_places, to = places }
  local doc = merge(m, json.object(rest, keys), over, "", "", "")
  doc.extends = nil
  places["/extends"] = nil
  return doc, places
end

return M
