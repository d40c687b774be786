-- Device models: finding, putting together (`extends`), validating. Every problem has its file, line, column, JSON pointer and rule,
-- also when the key came from a model further down.
local native = require "iotix._core.native"
local json = require "iotix._core.json"
local jsonschema = require "iotix._core.jsonschema"
local find = require "iotix._core.model_find"
local merge = require "iotix._core.model_merge"

local M = {}
local validator
local cache = {}

M.children = {} -- of the gateways that were checked: path → list of { path, doc, places }

local MAX_LEVELS = 16 -- models that extend each other

local function schema_validator()
  if not validator then
    local schema = assert(json.decode(native.embedded("models/schema/device-model.schema.json")))
    validator = assert(jsonschema.compile(schema))
  end
  return validator
end

local function problem(file, place, pointer, rule, message, hint)
  place = place or {}
  return { file = place.file or file, line = place.line or 0, column = place.column or 0, pointer = pointer, rule = rule,
    message = message, hint = hint }
end

-- A relative data file belongs to the model that names it, also when that one lies elsewhere and is extended.
local function anchor_files(doc, dir)
  if json.type(doc) == "array" then
    for i = 1, #doc do anchor_files(doc[i], dir) end
  elseif json.type(doc) == "object" then
    for _, key in ipairs(json.keys(doc)) do
      local value = doc[key]
      if (key == "dataFile" or key == "routeFile") and type(value) == "string" and value:sub(1, 1) ~= "/" then
        local path = dir .. "/" .. value
        if native.model_real(path) then doc[key] = native.model_real(path) end
      else
        anchor_files(value, dir)
      end
    end
  end
end

local compose

-- The document of the model that `doc` extends, or nil after noting a problem.
local function base_of(doc, places, path, chain, problems)
  local reference = doc.extends
  local function fail(message)
    problems[#problems + 1] = problem(path, places["/extends"], "/extends", "extends", message)
  end
  if type(reference) ~= "string" then
    return fail("must be the id of a model (valve, valve@1.2) or a path beginning with ./ or ../, is "
      .. json.encode(reference))
  end
  local base_path, text = find.resolve(reference, path)
  if not base_path then return fail('model "' .. reference .. '" ' .. text) end
  local real = native.model_real(base_path) or base_path
  for i = 1, #chain do
    if chain[i].real == real then
      local names = {}
      for k = i, #chain do names[#names + 1] = chain[k].path end
      return fail("models that extend each other in a circle: " .. table.concat(names, " → ") .. " → " .. base_path)
    end
  end
  if #chain > MAX_LEVELS then
    return fail("more than " .. MAX_LEVELS .. " models that extend each other, beginning with " .. chain[1].path)
  end
  local base, base_places = compose(base_path, text, chain, problems)
  if base and find.dirname(base_path) ~= find.dirname(path) then anchor_files(base, find.dirname(base_path)) end
  return base, base_places
end

-- Document and places of a file with all that it extends; nil after noting problems.
function compose(path, text, chain, problems)
  local doc, wrong, places = json.decode(text)
  if doc == nil then
    problems[#problems + 1] = problem(path, wrong, "", "json", wrong.message)
    return nil
  end
  for _, place in pairs(places) do place.file = path end
  if json.type(doc) ~= "object" or doc.extends == nil then return doc, places end
  chain[#chain + 1] = { path = path, real = native.model_real(path) or path }
  local base, base_places = base_of(doc, places, path, chain, problems)
  chain[#chain] = nil
  if not base then return nil end
  if json.type(base) ~= "object" then
    problems[#problems + 1] = problem(path, places["/extends"], "/extends", "extends", "what it extends is no object")
    return nil
  end
  return merge.merge(base, base_places, doc, places)
end

-- "pkg.module:Class", "handlers/x.py", "a.b.c.d": what the format's first implementation called a handler.
local function looks_like_python(handler)
  if #handler > 200 then return false end -- no name at all: C says so
  local _, dots = handler:gsub("%.", "")
  return handler:find(":", 1, true) or handler:find("%.pyc?$") or handler:find("^python") or dots > 1
end

local function check_handlers(value, pointer, note)
  if json.type(value) == "array" then
    for i = 1, #value do check_handlers(value[i], pointer .. "/" .. i - 1, note) end
  elseif json.type(value) == "object" then
    for _, key in ipairs(json.keys(value)) do
      local here = pointer .. "/" .. json.escape_pointer(key)
      if key == "handler" and type(value[key]) == "string" then
        if looks_like_python(value[key]) then note(here, value[key]) end
      elseif key ~= "params" and key ~= "payload" and key ~= "value" and key ~= "state" and key ~= "template" then
        check_handlers(value[key], here, note)
      end
    end
  end
end

-- Where the message of C, "PATH: /pointer: text", points to: the place of the pointer or of what it lies in.
local function from_c(path, places, text)
  local message = text:sub(1, #path + 2) == path .. ": " and text:sub(#path + 3) or text
  local pointer, rest = message:match("^(/%S*): (.*)$")
  if not pointer then return problem(path, places[""], "", "model", message) end
  local at = pointer
  while at ~= "" and not places[at] do at = at:gsub("/[^/]*$", "") end
  return problem(path, places[at], pointer == "/" and "" or pointer, "model", rest)
end

local check

-- The models of a gateway's children take the place of their references in the text that C gets.
local function children_inlined(doc, path, places, problems, documents)
  if doc.type ~= "gateway" or json.type(doc.children) ~= "array" then return doc end
  local children = json.array()
  for i = 1, #doc.children do
    local child = doc.children[i]
    local at = "/children/" .. i - 1 .. "/model"
    local place = places[at] or places["/children"]
    local child_path, text = find.resolve(child.model, place and place.file or path)
    if not child_path then
      problems[#problems + 1] = problem(path, place, at, "model", 'model "' .. child.model .. '" ' .. text)
      return doc
    end
    local found, inner, _, inner_places = check(child_path, text, true)
    for k = 1, #found do problems[#problems + 1] = found[k] end
    if #found > 0 then return doc end
    if inner.type == "gateway" or inner.type == "proxy" then
      problems[#problems + 1] = problem(path, place, at, "model", 'model "' .. child.model .. '" is a ' .. inner.type
        .. "; a child is a sensor, an actuator or custom")
      return doc
    end
    if find.dirname(child_path) ~= find.dirname(path) then anchor_files(inner, find.dirname(child_path)) end
    local keys, copy = json.keys(child), {}
    for _, key in ipairs(keys) do copy[key] = child[key] end
    copy.model = inner
    documents[i] = { path = child_path, doc = inner, places = inner_places }
    children[i] = json.object(copy, keys)
  end
  local keys, copy = json.keys(doc), {}
  for _, key in ipairs(keys) do copy[key] = doc[key] end
  copy.children = children
  return json.object(copy, keys)
end

--- Everything that is wrong with a model, as a list of { file, line, column, pointer, rule, message, valid?, hint? }; empty when it is
--- good. Then also the document with all that it extends, and the text that C is to parse.
function check(path, text, is_child)
  local problems = {}
  local doc, places = compose(path, text, {}, problems)
  if not doc then return problems end
  local ok, errors = schema_validator():validate(doc, places)
  if not ok then
    for _, e in ipairs(errors) do
      e.file, e.line, e.column = e.file or path, e.line or 0, e.column or 0
      problems[#problems + 1] = e
    end
    if errors.truncated then
      problems[#problems + 1] = problem(path, nil, "", "limit", "and more: the first " .. #errors .. " are shown")
    end
    return problems
  end
  check_handlers(doc, "", function(at, handler)
    problems[#problems + 1] = problem(path, places[at], at, "handler", '"' .. handler .. '" looks like Python, which is not run here',
      'write the Lua function: "NAME" of the group\'s handlers in the scenario, or "module.function" of module.lua beside the model')
  end)
  local documents = {}
  local whole = is_child and doc or children_inlined(doc, path, places, problems, documents)
  if #problems > 0 then return problems end
  local merged = json.encode(whole)
  if not is_child then
    local good, message = native.model_parse(merged, path)
    if not good then return { from_c(path, places, message) } end
  end
  M.children[path] = documents
  return problems, doc, merged, places
end

M.check = check
M.places = {} -- of the models that a scenario loaded: path → { [pointer] = { file, line, column } }

--- Path, text and document of a model for a scenario; raises when it is not found, and tells diagnostics when it is no good.
function M.load(name, where)
  local known = cache[name]
  if known then return known.path, known.text, known.doc end
  local path, text = find.resolve(name)
  if not path then error(where .. ': model "' .. name .. '" ' .. text, 3) end
  local problems, doc, merged, places = check(path, text)
  for _, p in ipairs(problems) do
    local pointer = p.pointer ~= "" and p.pointer .. ": " or ""
    native.diagnostic(p.rule == "json" and "IOTX021" or "IOTX022", p.file, p.line, p.column, pointer .. p.message,
      p.hint or (p.rule ~= "json" and "the format is described in docs/reference/device-model.md" or ""))
  end
  cache[name] = { path = path, text = merged or text, doc = doc or {} }
  M.places[path] = places
  return path, cache[name].text, cache[name].doc
end

return M
