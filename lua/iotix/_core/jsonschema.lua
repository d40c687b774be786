--- JSON Schema draft-07, made to explain: all violations at once, each with its JSON pointer and what would be valid.
--
-- A schema is compiled once to a tree of nodes, each a list of checks in a fixed order, so that the same input always
-- gives the same errors. Where a schema branches (anyOf, oneOf, if), the branch that comes nearest to the instance
-- speaks. Evaluation is bounded: by depth, by a step budget, and by the regular expressions' own budget. `format` and
-- the content keywords are annotations here. No globals, no state, no I/O. Lua 5.1.

local json = require "iotix._core.json"
local refs = require "iotix._core.jsonschema_ref"
local regex = require "iotix._core.regex"
local text = require "iotix._core.jsonschema_text"

local concat, floor, huge = table.concat, math.floor, math.huge
local format = string.format
local json_type, keys_of, escape = json.type, json.keys, json.escape_pointer
local canonical, describe, quoted = text.canonical, text.describe, text.quoted
local article, suggest = text.article, text.suggest

local M = {}

M.max_errors = 100     -- violations of one validation
M.max_steps = 1000000  -- schema nodes evaluated in one validation
M.max_depth = 200      -- schema nodes within each other

-- Evaluation --------------------------------------------------------------------------------------------------------

local function abort(ctx, pointer, message)
  error({ ctx = ctx, violation = { pointer = pointer, rule = "limit", message = message } }, 0)
end

-- Notes a violation. at_key: it is the key at this pointer that is wrong, not its value.
local function violation(ctx, pointer, rule, message, valid, at_key)
  local errors = ctx.errors
  if #errors >= M.max_errors then
    errors.truncated = true
    return
  end
  errors[#errors + 1] = { pointer = pointer, rule = rule, message = message, valid = valid, at_key = at_key }
end

local function evaluate(node, ctx, value, pointer)
  ctx.steps = ctx.steps + 1
  ctx.depth = ctx.depth + 1
  if ctx.steps > M.max_steps then
    abort(ctx, pointer, "checking takes more than " .. M.max_steps .. " steps")
  elseif ctx.depth > M.max_depth then
    abort(ctx, pointer, "the schema or the instance is nested too deep; does a $ref of the schema lead back to itself?")
  end
  local t = json_type(value)
  for i = 1, #node do
    if node[i](ctx, value, pointer, t) == false then
      break -- of the wrong type: what else could be said would only repeat it
    end
  end
  ctx.depth = ctx.depth - 1
end

-- Violations of one branch, apart from the others.
local function try(node, ctx, value, pointer)
  local outer = ctx.errors
  ctx.errors = {}
  evaluate(node, ctx, value, pointer)
  local errors = ctx.errors
  ctx.errors = outer
  return errors
end

local function adopt(ctx, errors, suffix)
  for i = 1, #errors do
    local e = errors[i]
    violation(ctx, e.pointer, e.rule, suffix and e.message .. suffix or e.message, e.valid, e.at_key)
  end
end

local function child(pointer, token)
  return pointer .. "/" .. escape(token)
end

-- How far a branch is from the instance: a wrong type of the whole or a wrong discriminator (const, enum) means that
-- another branch was meant; after that, fewer violations are nearer.
local function distance(errors, pointer)
  local sum = 0
  for i = 1, #errors do
    local e = errors[i]
    if e.pointer == pointer and e.rule == "type" then
      sum = sum + 10000
    elseif e.rule == "const" or e.rule == "enum" then
      sum = sum + 200
    else
      sum = sum + 1
    end
  end
  return sum
end

-- The alternatives of branches that all fail with one and the same rule at the instance itself, merged; nil when they
-- do not.
local function merged(branches, pointer, rule)
  local valid, seen = {}, {}
  for i = 1, #branches do
    local e = branches[i][1]
    if #branches[i] ~= 1 or e.pointer ~= pointer or not rule[e.rule] then
      return nil
    end
    for _, v in ipairs(e.valid or {}) do
      local key = canonical(v)
      if not seen[key] then
        seen[key] = true
        valid[#valid + 1] = v
      end
    end
  end
  return valid
end

local only_type, only_values = { type = true }, { enum = true, const = true }

local function no_branch(ctx, rule, branches, value, pointer)
  local types = merged(branches, pointer, only_type)
  if types then
    return violation(ctx, pointer, rule, format("must be %s, is %s", text.type_list(types), describe(value)), types)
  end
  local values = merged(branches, pointer, only_values)
  if values then
    return violation(ctx, pointer, rule, text.not_one_of(values, value), values)
  end
  local best, least = branches[1], huge
  for i = 1, #branches do
    local d = distance(branches[i], pointer)
    if d < least then
      best, least = branches[i], d
    end
  end
  adopt(ctx, best)
end

-- Compilation -------------------------------------------------------------------------------------------------------

local function bad_schema(c, pointer, message, ...)
  local place = pointer == "" and "the root" or pointer
  error({ compiler = c, message = format("schema error at %s: %s", place, format(message, ...)) }, 0)
end

local function expect(c, at, value, type_name)
  local t = json_type(value)
  local ok = t == type_name or (type_name == "count" and t == "number" and value >= 0 and value % 1 == 0)
    or (type_name == "schema" and (t == "object" or t == "boolean"))
  if not ok then
    local names = { count = "a whole number of at least 0", schema = "a schema (an object, true or false)" }
    bad_schema(c, at, "must be %s, is %s", names[type_name] or article(type_name), describe(value))
  end
  return value
end

local compile_node

local function compile_list(c, at, list, base)
  expect(c, at, list, "array")
  if #list == 0 then
    bad_schema(c, at, "must not be empty")
  end
  local nodes = {}
  for i = 1, #list do
    nodes[i] = compile_node(c, list[i], base, child(at, i - 1))
  end
  return nodes
end

local function compile_map(c, at, map, base)
  expect(c, at, map, "object")
  local nodes = {}
  for _, name in ipairs(keys_of(map)) do
    nodes[name] = compile_node(c, map[name], base, child(at, name))
  end
  return nodes
end

local function compile_pattern(c, at, source)
  expect(c, at, source, "string")
  local re, err = regex.compile(source)
  if not re then
    bad_schema(c, at, "not a regular expression: %s", err)
  end
  return re
end

local function matches(ctx, re, s, pointer)
  local found, err = re:find(s)
  if err then
    abort(ctx, pointer, err)
  end
  return found
end

local keywords = {}

local type_of_keyword = { null = true, boolean = true, object = true, array = true, number = true, string = true,
  integer = true }

function keywords.type(c, at, value)
  local list = json_type(value) == "array" and value or { value }
  local names = {}
  for i = 1, #list do
    if not type_of_keyword[list[i]] then
      bad_schema(c, at, "must be array, boolean, integer, null, number, object or string, is %s", describe(list[i]))
    end
    names[i] = list[i]
  end
  return function(ctx, v, pointer, t)
    for i = 1, #names do
      local name = names[i]
      if name == t or (name == "integer" and t == "number" and v % 1 == 0) then
        return
      end
    end
    violation(ctx, pointer, "type", format("must be %s, is %s", text.type_list(names), describe(v)), names)
    return false
  end
end

function keywords.enum(c, at, value)
  expect(c, at, value, "array")
  local known = {}
  for i = 1, #value do
    known[canonical(value[i])] = true
  end
  return function(ctx, v, pointer)
    if not known[canonical(v)] then
      violation(ctx, pointer, "enum", text.not_one_of(value, v), value)
    end
  end
end

function keywords.const(_, _, value)
  local wanted = canonical(value)
  return function(ctx, v, pointer)
    if canonical(v) ~= wanted then
      violation(ctx, pointer, "const", format("must be %s, is %s", quoted(value), describe(v)), { value })
    end
  end
end

-- keywords that compare a number: holds(v, limit), and how the message says it
local function bound(name, sign, holds)
  keywords[name] = function(c, at, limit)
    expect(c, at, limit, "number")
    return function(ctx, v, pointer, t)
      if t == "number" and not holds(v, limit) then
        violation(ctx, pointer, name, format("must be %s %s, is %s", sign, quoted(limit), quoted(v)))
      end
    end
  end
end
bound("minimum", ">=", function(v, limit) return v >= limit end)
bound("maximum", "<=", function(v, limit) return v <= limit end)
bound("exclusiveMinimum", ">", function(v, limit) return v > limit end)
bound("exclusiveMaximum", "<", function(v, limit) return v < limit end)

function keywords.multipleOf(c, at, divisor)
  if expect(c, at, divisor, "number") <= 0 then
    bad_schema(c, at, "must be above 0, is %s", quoted(divisor))
  end
  return function(ctx, v, pointer, t)
    if t ~= "number" then
      return
    end
    local q = v / divisor
    local exact = v % 1 == 0 and divisor % 1 == 0
    local off = exact and math.fmod(v, divisor) ~= 0
      or not exact and (q - q ~= 0 or math.abs(q - floor(q + 0.5)) > math.abs(q) * 2 ^ -50)
    if off then
      violation(ctx, pointer, "multipleOf", format("must be a multiple of %s, is %s", quoted(divisor), quoted(v)))
    end
  end
end

-- keywords that count: characters, items, keys
local function counted(name, type_name, at_least, size, unit)
  keywords[name] = function(c, at, limit)
    expect(c, at, limit, "count")
    local message = format("must have at %s %d %s%s, has %%d", at_least and "least" or "most", limit, unit,
      limit == 1 and "" or "s")
    return function(ctx, v, pointer, t)
      if t ~= type_name then
        return
      end
      local n = size(v)
      if at_least and n < limit or not at_least and n > limit then
        violation(ctx, pointer, name, format(message, n))
      end
    end
  end
end
local function n_items(v) return #v end
local function n_keys(v) return #keys_of(v) end
counted("minLength", "string", true, regex.length, "character")
counted("maxLength", "string", false, regex.length, "character")
counted("minItems", "array", true, n_items, "item")
counted("maxItems", "array", false, n_items, "item")
counted("minProperties", "object", true, n_keys, "key")
counted("maxProperties", "object", false, n_keys, "key")

function keywords.pattern(c, at, source)
  local re = compile_pattern(c, at, source)
  return function(ctx, v, pointer, t)
    if t == "string" and not matches(ctx, re, v, pointer) then
      violation(ctx, pointer, "pattern", format("must match the pattern %s, is %s", source, describe(v)))
    end
  end
end

function keywords.uniqueItems(c, at, wanted)
  if not expect(c, at, wanted, "boolean") then
    return nil
  end
  return function(ctx, v, pointer, t)
    if t ~= "array" then
      return
    end
    local first = {}
    for i = 1, #v do
      local key = canonical(v[i])
      if first[key] then
        return violation(ctx, pointer, "uniqueItems",
          format("items must differ from each other, %d and %d are equal", first[key] - 1, i - 1))
      end
      first[key] = i
    end
  end
end

function keywords.items(c, at, value, base, schema)
  if json_type(value) ~= "array" then
    local node = compile_node(c, value, base, at)
    return function(ctx, v, pointer, t)
      for i = 1, t == "array" and #v or 0 do
        evaluate(node, ctx, v[i], child(pointer, i - 1))
      end
    end
  end
  local nodes, rest = {}, nil
  for i = 1, #value do
    nodes[i] = compile_node(c, value[i], base, child(at, i - 1))
  end
  if schema.additionalItems ~= nil then
    rest = compile_node(c, schema.additionalItems, base, (at:gsub("items$", "additionalItems")))
  end
  local message = format("there are at most %d items here", #nodes)
  return function(ctx, v, pointer, t)
    for i = 1, t == "array" and #v or 0 do
      local node = nodes[i] or rest
      if node and node.never then
        violation(ctx, child(pointer, i - 1), "additionalItems", message)
      elseif node then
        evaluate(node, ctx, v[i], child(pointer, i - 1))
      end
    end
  end
end

function keywords.contains(c, at, value, base)
  local node = compile_node(c, value, base, at)
  return function(ctx, v, pointer, t)
    if t ~= "array" then
      return
    end
    local nearest, least = nil, huge
    for i = 1, #v do
      local errors = try(node, ctx, v[i], child(pointer, i - 1))
      if #errors == 0 then
        return
      end
      local d = distance(errors, child(pointer, i - 1))
      if d < least then
        nearest, least = errors[1], d
      end
    end
    local why = nearest and format("; nearest: %s %s", nearest.pointer, nearest.message) or ", it is empty"
    violation(ctx, pointer, "contains", "one item at least must be as asked" .. why)
  end
end

function keywords.required(c, at, names)
  expect(c, at, names, "array")
  for i = 1, #names do
    expect(c, child(at, i - 1), names[i], "string")
  end
  return function(ctx, v, pointer, t)
    for i = 1, t == "object" and #names or 0 do
      if v[names[i]] == nil then
        violation(ctx, pointer, "required", format("required key %s is missing", quoted(names[i])))
      end
    end
  end
end

local function unknown_key(ctx, pointer, key, names)
  local near = suggest(key, names)
  local message = #names == 0 and format("unknown key %s; no keys are valid here", quoted(key))
    or format("unknown key %s; valid: %s", quoted(key), concat(names, ", "))
  message = near and format('%s; did you mean "%s"?', message, near) or message
  violation(ctx, child(pointer, key), "additionalProperties", message, names, true)
end

-- properties, patternProperties and additionalProperties belong together: each key is looked at once.
local function compile_properties(c, at, schema, base)
  local properties = schema.properties ~= nil and compile_map(c, at .. "/properties", schema.properties, base) or {}
  local names = schema.properties and keys_of(schema.properties) or {}
  local patterns = {}
  local sources = schema.patternProperties
  for _, source in ipairs(sources and keys_of(expect(c, at .. "/patternProperties", sources, "object")) or {}) do
    local place = child(at .. "/patternProperties", source)
    local re = compile_pattern(c, place, source)
    patterns[#patterns + 1] = { re = re, node = compile_node(c, sources[source], base, place) }
  end
  local additional = schema.additionalProperties
  local rest = additional ~= nil and compile_node(c, additional, base, at .. "/additionalProperties")
  return function(ctx, v, pointer, t)
    if t ~= "object" then
      return
    end
    for _, key in ipairs(keys_of(v)) do
      local known = properties[key]
      if known then
        evaluate(known, ctx, v[key], child(pointer, key))
      end
      for i = 1, #patterns do
        if matches(ctx, patterns[i].re, key, pointer) then
          known = true
          evaluate(patterns[i].node, ctx, v[key], child(pointer, key))
        end
      end
      if not known and rest then
        if rest.never then
          unknown_key(ctx, pointer, key, names)
        else
          evaluate(rest, ctx, v[key], child(pointer, key))
        end
      end
    end
  end
end

function keywords.propertyNames(c, at, value, base)
  local node = compile_node(c, value, base, at)
  return function(ctx, v, pointer, t)
    for _, key in ipairs(t == "object" and keys_of(v) or {}) do
      local errors = try(node, ctx, key, child(pointer, key))
      for i = 1, #errors do
        local e = errors[i]
        violation(ctx, e.pointer, "propertyNames", format("the key %s", e.message), e.valid, true)
      end
    end
  end
end

function keywords.dependencies(c, at, value, base)
  expect(c, at, value, "object")
  local names, needs = keys_of(value), {}
  for _, name in ipairs(names) do
    local place = child(at, name)
    if json_type(value[name]) == "array" then
      for i = 1, #value[name] do
        expect(c, child(place, i - 1), value[name][i], "string")
      end
      needs[name] = value[name]
    else
      needs[name] = { node = compile_node(c, value[name], base, place) }
    end
  end
  return function(ctx, v, pointer, t)
    for _, name in ipairs(t == "object" and names or {}) do
      local need = v[name] ~= nil and needs[name] or {}
      if need.node then
        evaluate(need.node, ctx, v, pointer)
      end
      for i = 1, #need do
        if v[need[i]] == nil then
          violation(ctx, pointer, "dependencies",
            format("key %s needs the key %s beside it", quoted(name), quoted(need[i])))
        end
      end
    end
  end
end

function keywords.allOf(c, at, value, base)
  local nodes = compile_list(c, at, value, base)
  return function(ctx, v, pointer)
    for i = 1, #nodes do
      evaluate(nodes[i], ctx, v, pointer)
    end
  end
end

function keywords.anyOf(c, at, value, base)
  local nodes = compile_list(c, at, value, base)
  return function(ctx, v, pointer)
    local branches = {}
    for i = 1, #nodes do
      branches[i] = try(nodes[i], ctx, v, pointer)
      if #branches[i] == 0 then
        return
      end
    end
    no_branch(ctx, "anyOf", branches, v, pointer)
  end
end

function keywords.oneOf(c, at, value, base)
  local nodes = compile_list(c, at, value, base)
  local keys_needed = text.single_keys(value)
  return function(ctx, v, pointer)
    local branches, held = {}, {}
    for i = 1, #nodes do
      branches[i] = try(nodes[i], ctx, v, pointer)
      if #branches[i] == 0 then
        held[#held + 1] = i
      end
    end
    if #held ~= 1 and keys_needed then
      violation(ctx, pointer, "oneOf", format("exactly one of the keys %s is needed, %s", keys_needed,
        #held == 0 and "none is there" or "there are " .. #held))
    elseif #held == 0 then
      no_branch(ctx, "oneOf", branches, v, pointer)
    elseif #held > 1 then
      violation(ctx, pointer, "oneOf", format("must match exactly one of %d alternatives, matches numbers %s", #nodes,
        concat(held, " and ")))
    end
  end
end

keywords["not"] = function(c, at, value, base)
  local node = compile_node(c, value, base, at)
  local what = text.forbidden(value)
  return function(ctx, v, pointer)
    if #try(node, ctx, v, pointer) == 0 then
      violation(ctx, pointer, "not", what)
    end
  end
end

keywords["if"] = function(c, at, value, base, schema)
  local condition = compile_node(c, value, base, at)
  local branches = {}
  for _, name in ipairs { "then", "else" } do
    if schema[name] ~= nil then
      branches[name] = compile_node(c, schema[name], base, (at:gsub("if$", name)))
    end
  end
  local when = text.condition(value)
  local suffix = { ["then"] = when and " (when " .. when .. ")", ["else"] = when and " (unless " .. when .. ")" }
  return function(ctx, v, pointer)
    local name = #try(condition, ctx, v, pointer) == 0 and "then" or "else"
    if branches[name] then
      adopt(ctx, try(branches[name], ctx, v, pointer), suffix[name])
    end
  end
end

-- The order in which a node speaks. `properties` stands for its whole family.
local order = { "type", "enum", "const", "required", "properties", "propertyNames", "dependencies", "minProperties",
  "maxProperties", "items", "contains", "minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "pattern",
  "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "allOf", "anyOf", "oneOf", "not", "if" }

local function refuse(ctx, _, pointer)
  violation(ctx, pointer, "false", "not allowed here")
end

local function compile_ref(c, ref, base, at)
  expect(c, at, ref, "string")
  local target, target_base, address = c.registry:find(ref, base)
  if target == nil then
    bad_schema(c, at, "%s", target_base)
  end
  return compile_node(c, target, target_base, address)
end

function compile_node(c, schema, base, at)
  if schema == true then
    return {}
  elseif schema == false then
    return { refuse, never = true }
  end
  expect(c, at, schema, "schema")
  if c.nodes[schema] then
    return c.nodes[schema]
  end
  local node = {}
  c.nodes[schema] = node -- before its parts: schemas may refer to themselves
  if schema["$ref"] ~= nil then -- its siblings are ignored (draft-07, section 8.3)
    local target = compile_ref(c, schema["$ref"], base, at .. "/$ref")
    node.never = target.never
    node[1] = function(ctx, v, pointer)
      evaluate(target, ctx, v, pointer)
    end
    return node
  end
  base = c.registry.base_of[schema] or base
  for _, name in ipairs(order) do
    local check
    if name == "properties" then
      if schema.properties ~= nil or schema.patternProperties ~= nil or schema.additionalProperties ~= nil then
        check = compile_properties(c, at, schema, base)
      end
    elseif schema[name] ~= nil then
      check = keywords[name](c, at .. "/" .. name, schema[name], base, schema)
    end
    node[#node + 1] = check
  end
  return node
end

-- What one calls ----------------------------------------------------------------------------------------------------

local Validator = {}
Validator.__index = Validator

-- Line and column of a violation; where its own place is unknown, of what it lies in.
local function locate(e, positions)
  local pointer = e.pointer
  local p = positions[pointer]
  while not p and pointer ~= "" do
    pointer = pointer:gsub("/[^/]*$", "")
    p = positions[pointer]
  end
  if p then
    e.line = e.at_key and p.key_line or p.line
    e.column = e.at_key and p.key_column or p.column
    e.file = p.file -- of a document that was put together from several
  end
end

local function finish(errors, positions)
  local out, seen = {}, {}
  for i = 1, #errors do
    local e = errors[i]
    local key = e.pointer .. "\0" .. e.rule .. "\0" .. e.message
    if not seen[key] then
      seen[key] = true
      if positions then
        locate(e, positions)
      end
      e.at_key, e.n = nil, i
      out[#out + 1] = e
    end
  end
  if positions then
    table.sort(out, function(a, b)
      if a.file ~= b.file then
        return (a.file or "") < (b.file or "")
      elseif a.line ~= b.line then
        return (a.line or 0) < (b.line or 0)
      elseif a.column ~= b.column then
        return (a.column or 0) < (b.column or 0)
      end
      return a.n < b.n
    end)
  end
  for i = 1, #out do
    out[i].n = nil
  end
  out.truncated = errors.truncated
  return out
end

--- Checks an instance.
-- @param instance any decoded by iotix._core.json (a plain table without elements counts as an object)
-- @param positions table|nil third result of json.decode: violations get line and column, and come in the text's order
-- @return boolean
-- @return table[] violations { pointer, rule, message, valid = list|nil, line, column }, at most max_errors,
-- `truncated` when there were more
function Validator:validate(instance, positions)
  local ctx = { errors = {}, steps = 0, depth = 0 }
  local kept = ctx.errors
  local ok, thrown = pcall(evaluate, self.node, ctx, instance, "")
  if not ok then
    if type(thrown) ~= "table" or thrown.ctx ~= ctx then
      error(thrown, 0)
    end
    ctx.errors = kept
    kept[math.min(#kept + 1, M.max_errors)] = thrown.violation
  end
  return #kept == 0, finish(kept, positions)
end

--- Compiles a schema.
-- @param schema table|boolean decoded by iotix._core.json
-- @param options table|nil { documents = { [uri] = schema } }: what a $ref may lead to; draft-07's meta-schema is there
-- @return table|nil validator
-- @return string|nil message, with the pointer into the schema
function M.compile(schema, options)
  local c = { nodes = {}, registry = refs.new(options and options.documents) }
  local ok, result = pcall(function()
    return compile_node(c, schema, c.registry:root(schema), "")
  end)
  if ok then
    return setmetatable({ node = result }, Validator)
  elseif type(result) == "table" and result.compiler == c then
    return nil, result.message
  end
  error(result, 0)
end

--- One line a violation: "NAME:LINE:COLUMN: /pointer: message".
-- @param errors table[]
-- @param name string|nil of the file
-- @return string
function M.format(errors, name)
  local lines = {}
  for i = 1, #errors do
    local e = errors[i]
    local place = name or ""
    if e.line then
      place = format("%s:%d:%d", e.file or place, e.line, e.column)
    end
    local pointer = e.pointer == "" and "the document" or e.pointer
    lines[i] = format("%s%s%s: %s", place, place ~= "" and ": " or "", pointer, e.message)
  end
  if errors.truncated then
    lines[#lines + 1] = format("and more: the first %d are shown", #errors)
  end
  return concat(lines, "\n")
end

return M
