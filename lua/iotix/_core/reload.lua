-- Reading models and behaviour files again while the run is on (director only). What is wrong becomes diagnostics, and nothing is
-- changed; what is another text than before goes to the shards.
local native = require "iotix._core.native"
local find = require "iotix._core.model_find"
local handlers = require "iotix._core.handlers"
local model = require "iotix._core.model"

local M = {}

local function tell(first, code, file, line, column, text)
  native.diagnostic(code, file, line, column, text)
  return first or string.format("%s%s: %s", file, line > 0 and ":" .. line or "", text)
end

-- Whether the group's model is another one than before: path, text, document, places | nil, first problem
local function read_model(g)
  local path, text = find.resolve(g.model)
  if not path then return nil, tell(nil, "IOTX021", g.model, 0, 0, text) end
  local problems, doc, merged, places = model.check(path, text)
  local first
  for _, p in ipairs(problems) do
    local pointer = p.pointer ~= "" and p.pointer .. ": " or ""
    first = tell(first, p.rule == "json" and "IOTX021" or "IOTX022", p.file, p.line or 0, p.column or 0, pointer .. p.message)
  end
  if first then return nil, first end
  local before = native.diagnostics()
  handlers.look({ name = g.name, handlers = g.handlers, model_path = path, model_doc = doc }, places)
  if native.diagnostics() > before then return nil, path .. ": a handler was not found" end
  return { path = path, text = merged, doc = doc }
end

local function read_behaviour(g)
  local path, text = native.behaviour_read(g.behaviour_file)
  if not path then return nil, tell(nil, "IOTX001", g.behaviour_file, 0, 0, text) end
  local fn, message = native.behaviour_compile(path, text)
  if fn then return { path = path, text = text } end
  local file, line, column, rest = native.position(message) -- the file's own, or that of a module it requires
  return nil, tell(nil, "IOTX001", file ~= "" and file or path, line, column, rest)
end

--- The groups (or that one) whose model or behaviour file is another text than what runs:
-- { { name, model = { path, text }, behaviour = { path, text } } } | nil, the first problem. Only when everything is good is it
-- taken as what runs.
function M.run(scenario, name)
  local changed, take = {}, {}
  local first
  for _, g in ipairs(scenario.groups) do
    if not name or g.name == name then
      local entry = { name = g.name }
      if g.model then
        local new, problem = read_model(g)
        first = first or problem
        if new and (new.text ~= g.model_text or new.path ~= g.model_path) then
          entry.model = { path = new.path, text = new.text }
          take[#take + 1] = function() g.model_path, g.model_text, g.model_doc = new.path, new.text, new.doc end
        end
      end
      if g.behaviour_file then
        local new, problem = read_behaviour(g)
        first = first or problem
        if new and new.text ~= g.behaviour_text then
          entry.behaviour = new
          take[#take + 1] = function() g.behaviour_text = new.text end
        end
      end
      if entry.model or entry.behaviour then changed[#changed + 1] = entry end
    end
  end
  if first then return nil, first end
  for i = 1, #take do take[i]() end
  return changed
end

return M
