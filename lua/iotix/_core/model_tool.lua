-- What runtime/script/model_tool.c calls: models apart from any scenario. Plain values in, plain values out.
local native = require "iotix._core.native"
local json = require "iotix._core.json"
local find = require "iotix._core.model_find"
local model = require "iotix._core.model"

local M = {}

--- Problems as JSON text, and when there are none the model with all that it extends as JSON text. nil, what is wrong, code.
function M.check(name, text)
  local path = name
  if not text then
    if name:find("/", 1, true) or name:find("%.json$") then
      local problem, code
      text, problem, code = native.model_read(name)
      if not text then return nil, problem, code end
    else
      path, text = find.resolve(name)
      if not path and #native.model_names(name) > 0 then
        return nil, name .. " is a directory; expected files, such as " .. name .. "/*.json", "invalid"
      end
      if not path then return nil, 'model "' .. name .. '" ' .. text, "not_found" end
    end
  end
  local problems, doc = model.check(path, text)
  local list = json.array()
  for i, p in ipairs(problems) do
    list[i] = json.object({ file = p.file, line = p.line, column = p.column, pointer = p.pointer, rule = p.rule, message = p.message,
      valid = p.valid and json.array(p.valid), hint = p.hint },
      { "file", "line", "column", "pointer", "rule", "message", "valid", "hint" })
  end
  return json.encode(list), #problems == 0 and json.encode(doc) or nil
end

local function text_or_nil(value) return type(value) == "string" and value or nil end

--- All models as JSON text.
function M.list()
  local list = {}
  for _, file in ipairs(find.all(".")) do
    local doc, problem
    if file.text then doc, problem = json.decode(file.text) end
    local entry = { path = file.path }
    if json.type(doc) == "object" then
      for _, key in ipairs { "id", "name", "type", "extends", "description" } do entry[key] = text_or_nil(doc[key]) end
      entry.version = text_or_nil(doc.version) or "1.0.0"
      if not entry.id then entry.problem = "it has no id" end
    else
      entry.problem = file.problem or (problem and tostring(problem)) or "it is no JSON object"
    end
    -- The current directory holds other JSON files too.
    if not file.here or (entry.id and (doc.protocol or doc.extends)) then
      list[#list + 1] = json.object(entry, { "id", "version", "name", "type", "path", "extends", "description", "problem" })
    end
  end
  table.sort(list, function(a, b)
    if (a.id or "") ~= (b.id or "") then return (a.id or "") < (b.id or "") end
    if (a.version or "") ~= (b.version or "") then return (a.version or "") < (b.version or "") end
    return a.path < b.path
  end)
  return json.encode(json.array(list))
end

return M
