-- The Lua functions that models name as handlers: "NAME" of the group's handlers, or "module.function" of module.lua beside the
-- model or the scenario. All of them are found while the scenario is loaded, so that a missing one is told before anything starts.
local native = require "iotix._core.native"
local json = require "iotix._core.json"

local M = {}

local groups = {} -- name → { group, dirs = { [handler] = directory of the file that names it } }

--- Converter of the key `handlers` of a group.
function M.check(t)
  if type(t) ~= "table" then return nil, "a table { name = function … }" end
  local copy = {}
  for name, fn in pairs(t) do
    if type(name) ~= "string" or not name:find("^[%a_][%w_.]*$") then
      return nil, nil, "handlers: a name of a handler is made of letters, digits and _, got " .. tostring(name)
    end
    if type(fn) ~= "function" then return nil, nil, "handlers: " .. name .. ": expected a function, got a " .. type(fn) end
    copy[name] = fn
  end
  return copy
end

local function dirname(path) return path:match("^(.*)/[^/]*$") or "." end

local function near(word, names)
  local like = native.suggest(word, names)
  return like and '; did you mean "' .. like .. '"?' or ""
end

local function functions_of(t)
  local names = {}
  if type(t) == "table" then
    for name, value in pairs(t) do
      if type(name) == "string" and type(value) == "function" then names[#names + 1] = name end
    end
  end
  table.sort(names)
  return names
end

-- The module of a handler, beside the model or else beside the scenario; nil and where was looked.
local function from_module(module, name, dir)
  local tried = {}
  for _, place in ipairs(dir == native.script_dir and { dir } or { dir, native.script_dir }) do
    local ok, found, result = pcall(native.author_module, place, module)
    if not ok then error(found, 0) end -- it begins with the module's own line
    if found then
      if type(result) == "table" and type(result[name]) == "function" then return result[name] end
      local file = place .. "/" .. module:gsub("%.", "/") .. ".lua"
      if type(result) ~= "table" then return nil, file .. " returns no table of functions" end
      local names = functions_of(result)
      return nil, file .. " has no function " .. name .. "; it has: "
        .. (#names > 0 and table.concat(names, ", ") or "none") .. near(name, names)
    end
    tried[#tried + 1] = result
  end
  return nil, tried
end

local function find(group, handler, dir)
  local own = group.handlers and group.handlers[handler]
  if own then return own end
  local module, name = handler:match("^(.+)%.([^.]+)$")
  local names = functions_of(group.handlers)
  local text = 'handler "' .. handler .. '" was not found: '
  local fn, problem
  if module then
    fn, problem = from_module(module, name, dir)
    if fn then return fn end
    if type(problem) == "string" then return nil, text .. problem end
  end
  text = text .. (#names > 0 and "the handlers of group " .. group.name .. " are " .. table.concat(names, ", ")
    or "group " .. group.name .. " has no handlers")
  if problem then return nil, text .. "; looked at " .. table.concat(problem, ", ") .. near(handler, names) end
  return nil, text .. near(handler, names) .. '; "module.function" would be a function of module.lua beside the model or the scenario'
end

-- Every handler of a model's document that the model runs: note(pointer, handler).
local function generator_handlers(g, at, note)
  if json.type(g) ~= "object" then return end
  if g.type == "custom" then note(at .. "/handler", g.handler) end
  if g.type == "array" then generator_handlers(g.items, at .. "/items", note) end
  if g.type == "object" and json.type(g.properties) == "object" then
    for _, key in ipairs(json.keys(g.properties)) do
      generator_handlers(g.properties[key], at .. "/properties/" .. json.escape_pointer(key), note)
    end
  end
end

local function each_handler(doc, note)
  for i, attribute in ipairs(doc.telemetry or {}) do
    generator_handlers(attribute.generator, "/telemetry/" .. i - 1 .. "/generator", note)
  end
  if json.type(doc.encoding) == "object" and doc.encoding.type == "lua" then note("/encoding/handler", doc.encoding.handler) end
  for i, command in ipairs(doc.commands or {}) do note("/commands/" .. i - 1 .. "/handler", command.handler) end
  for i, behavior in ipairs(doc.behaviors or {}) do
    if behavior.enabled ~= false and behavior.action.type == "custom" then
      note("/behaviors/" .. i - 1 .. "/action/handler", behavior.action.handler)
    end
  end
end

--- Looks for all handlers of a group's model; those that are not there become diagnostics.
-- @param places { [pointer] = { file, line, column } } of the document
-- @param children of a gateway: list of { path, doc, places }
function M.look(group, places, children)
  local known = { group = group, dirs = {} }
  groups[group.name] = known
  local function look(doc, doc_path, doc_places)
    each_handler(doc, function(at, handler)
      if type(handler) ~= "string" then return end -- the schema has told
      local place = doc_places and doc_places[at] or {}
      local file = place.file or doc_path
      known.dirs[handler] = known.dirs[handler] or dirname(file)
      local fn, problem = find(group, handler, dirname(file))
      if not fn then native.diagnostic("IOTX024", file, place.line or 0, place.column or 0, at .. ": " .. problem) end
    end)
  end
  look(group.model_doc, group.model_path, places)
  for _, child in ipairs(children or {}) do look(child.doc, child.path, child.places) end
end

--- For C, when a group is about to use a model: function | nil, message.
function M.resolve(name, handler)
  local known = groups[name]
  if not known then return nil, "group " .. name .. " has no model" end
  return find(known.group, handler, known.dirs[handler] or dirname(known.group.model_path))
end

return M
