-- From a reference to a model's file. A reference is
--   valve              valve.json of the first directory that has one, else the highest version of the files valve@VERSION.json
--   valve@1.2          the highest 1.2.x of the files valve.json and valve@VERSION.json in all directories
--   ./base.json        beside the file that says so (only in a model: `extends`, `children`)
--   parts/valve.json   below one of the directories
-- What counts is the `id` and `version` inside, not the name of the file.
local native = require "iotix._core.native"
local json = require "iotix._core.json"
local suggest = require("iotix._core.jsonschema_text").suggest

local M = {}

-- { major, minor, patch }, those that are said.
local function parts_of(version)
  local parts = {}
  for part in version:gmatch("%d+") do parts[#parts + 1] = tonumber(part) end
  return parts
end

local function matches(version, wanted)
  for i = 1, #wanted do
    if version[i] ~= wanted[i] then return false end
  end
  return true
end

local function higher(a, b)
  for i = 1, 3 do
    if (a[i] or 0) ~= (b[i] or 0) then return (a[i] or 0) > (b[i] or 0) end
  end
  return false
end

local function join(dir, name) return dir == "." and name or dir .. "/" .. name end

--- Directory part of a path, "." when it has none.
function M.dirname(path) return path:match("^(.*)/[^/]*$") or "." end

local function first_of(list, limit)
  if #list <= limit then return table.concat(list, ", ") end
  return table.concat(list, ", ", 1, limit) .. " and " .. #list - limit .. " more"
end

-- The first file of that name below the directories.
local function by_path(name, places)
  local tried = {}
  for _, dir in ipairs(places) do
    local path = join(dir, name)
    local text, problem, code = native.model_read(path)
    if text then return path, text end
    tried[#tried + 1] = code == "not_found" and path or problem
  end
  return nil, tried
end

-- The id of a model in these directories that the word was meant to be.
local function meant(word, places)
  local ids, seen = {}, {}
  for _, dir in ipairs(places) do
    for _, name in ipairs(native.model_names(dir)) do
      local id = name:match("^([^@]+)@.*%.json$") or name:match("^(.+)%.json$")
      if id and id ~= word and not seen[id] then
        seen[id] = true
        ids[#ids + 1] = id
      end
    end
  end
  return suggest(word, ids)
end

-- All files NAME.json and NAME@….json with that id, each once: { path, text, version }.
local function versions_of(id, places)
  local found, seen, others = {}, {}, {}
  for _, dir in ipairs(places) do
    for _, name in ipairs(native.model_names(dir)) do
      local path = join(dir, name)
      local real = (name == id .. ".json" or name:sub(1, #id + 1) == id .. "@") and native.model_real(path)
      if real and not seen[real] then
        seen[real] = true
        local text = native.model_read(path)
        local doc = text and json.decode(text)
        if json.type(doc) == "object" and doc.id == id then
          local version = type(doc.version) == "string" and doc.version or "1.0.0"
          found[#found + 1] = { path = path, text = text, version = version, parts = parts_of(version) }
        else
          others[#others + 1] = path .. (doc == nil and " cannot be read" or " has another id")
        end
      end
    end
  end
  return found, others
end

local function by_version(id, wanted, places)
  local found, others = versions_of(id, places)
  local best, names = {}, {}
  for _, file in ipairs(found) do
    names[#names + 1] = file.version .. " (" .. file.path .. ")"
    if matches(file.parts, wanted) then
      if not best[1] or higher(file.parts, best[1].parts) then
        best = { file }
      elseif not higher(best[1].parts, file.parts) and file.text ~= best[1].text then
        best[#best + 1] = file
      end
    end
  end
  if #best == 1 then return best[1].path, best[1].text end
  if #best > 1 then
    local paths = {}
    for i, file in ipairs(best) do paths[i] = file.path end
    return nil, "is ambiguous: version " .. best[1].version .. " is in " .. table.concat(paths, " and in ")
      .. ", which differ; name one by its path, or give one another version"
  end
  if #names > 0 then return nil, "was not found; there are " .. first_of(names, 10) end
  local where = first_of(places, 10)
  return nil, "was not found; no file " .. id .. ".json or " .. id .. "@VERSION.json with that id in " .. where
    .. (#others > 0 and " (" .. first_of(others, 3) .. ")" or "")
end

--- Path and text of the model that a reference means; nil and the rest of a sentence that begins with the reference.
-- @param reference string
-- @param from string|nil path of the model file that holds the reference
function M.resolve(reference, from)
  local near = from and M.dirname(from)
  if #reference > 4096 then return nil, "is no reference to a model: it is longer than a path can be" end
  if from and reference:find("^%.%.?/") then
    local path = join(near, (reference:gsub("^%./", "")))
    local text, problem = native.model_read(path)
    if text then return path, text end
    return nil, "was not found: " .. problem
  end
  if reference == "" or #reference > 255 or reference:find("..", 1, true) or reference:find("[%z\1-\31]") then
    return nil, "is no reference to a model: write a name (temperature-sensor), a name with a version (temperature-sensor@1.2) or a path"
      .. " without \"..\""
  end
  local places = native.model_places(near)
  local id, version = reference:match("^([^@/]+)@([^/]*)$")
  if id and not reference:find("%.json$") then
    if not version:find("^%d+$") and not version:find("^%d+%.%d+$") and not version:find("^%d+%.%d+%.%d+$") then
      return nil, "is no reference to a model: behind @ comes a version such as 1, 1.2 or 1.2.0"
    end
    return by_version(id, parts_of(version), places)
  end
  local path, text = by_path(reference:find("%.json$") and reference or reference .. ".json", places)
  if path then return path, text end
  if not reference:find("[/.]") then
    local found, newest = by_version(reference, {}, places)
    if found or newest:find("^is ambiguous") then return found, newest end
  end
  local like = not reference:find("/", 1, true) and meant(reference, places)
  return nil, "was not found; looked at " .. table.concat(text, ", ") .. (like and '; did you mean "' .. like .. '"?' or "")
end

--- All models of the directories: { path, text }, the first of each file once.
function M.all(near)
  local list, seen = {}, {}
  for _, dir in ipairs(native.model_places(near)) do
    for _, name in ipairs(native.model_names(dir)) do
      local path = join(dir, name)
      local real = native.model_real(path)
      if real and not seen[real] then
        seen[real] = true
        local text, problem = native.model_read(path)
        list[#list + 1] = { path = path, text = text, problem = problem, here = dir == near }
      end
    end
  end
  return list
end

return M
