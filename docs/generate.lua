-- Prints docs/reference/scenario-api.md from the annotations in lua/iotix/_meta:
--   luajit docs/generate.lua > docs/reference/scenario-api.md
local source = ""
for _, name in ipairs { "iotix", "chaos", "device", "values", "sink", "test" } do
  local text = assert(io.open("lua/iotix/_meta/" .. name .. ".lua")):read("*a")
  source = source .. text:gsub("\nreturn iotix\n$", "\n") .. "\n"
end

local out = {}
local function put(s) out[#out + 1] = s or "" end

local function escape(s) return (s:gsub("|", "\\|")) end

-- "name type description": the type may hold spaces inside brackets, parentheses or "fun(...): x".
local function split_type(text)
  local depth, i = 0, 1
  while i <= #text do
    local c = text:sub(i, i)
    if c:find("[%(%{%[<]") then depth = depth + 1 end
    if c:find("[%)%}%]>]") then depth = depth - 1 end
    if c == " " and depth == 0 and text:sub(i - 1, i - 1) ~= ":" then break end
    i = i + 1
  end
  return text:sub(1, i - 1), text:sub(i + 1)
end

local function flush_fields(fields)
  if #fields == 0 then return end
  put("| Field | Type | Meaning |")
  put("|---|---|---|")
  for _, f in ipairs(fields) do put(f) end
  put()
end

local names = {
  adapterconn = "conn", links = "iotix.link", link = "link",
  dev = "dev", conn = "conn", response = "response", observation = "observation", task = "task", gen = "iotix.gen",
  metrics = "iotix.metrics", metric = "metric",
  json = "iotix.json", payload = "iotix.payload", run = "run", group = "group",
  sink = "iotix.sink", chaos = "iotix.chaos", experiment = "experiment",
  fsm = "fsm", machine = "machine", behaviour = "iotix.behaviour",
  expect = "iotix.expect", iotix = "iotix",
}

put("# Scenario API")
put()
put("<!-- Made by docs/generate.lua from lua/iotix/_meta: edit that. -->")
put()
put([[What `require "iotix"` gives the author of a scenario. Durations are strings with a unit (`"250us"`, `"500ms"`, `"5s"`,
`"2m"`, `"1h"`, `"1m30s"`) or numbers of seconds. Failures of the world return `nil, message, code`; mistakes of the author raise,
at the author's line. Unknown keys are errors that name the valid ones.]])
put()

local doc, params, returns, fields = {}, {}, {}, {}

local function take_doc()
  local text = table.concat(doc, " ")
  doc = {}
  return text
end

local function close_class()
  flush_fields(fields)
  fields = {}
end

for line in source:gmatch("[^\n]*") do
  local tag, rest = line:match("^%-%-%-@(%w+)%s*(.*)$")
  if tag == "class" then
    close_class()
    put("## " .. (rest == "iotix" and "The library" or rest))
    put()
    local text = take_doc()
    if text ~= "" then put(text) put() end
  elseif tag == "field" then
    local name, tail = rest:match("^(%S+)%s+(.*)$")
    local kind, meaning = split_type(tail)
    fields[#fields + 1] = "| `" .. name .. "` | `" .. escape(kind) .. "` | " .. escape(meaning) .. " |"
  elseif tag == "param" then
    local name, tail = rest:match("^(%S+)%s+(.*)$")
    local kind, meaning = split_type(tail)
    params[#params + 1] = "- `" .. name .. "`: `" .. kind .. "`" .. (meaning ~= "" and "; " .. meaning or "")
  elseif tag == "return" then
    returns[#returns + 1] = rest
  elseif line:find("^%-%-%-[^@]") then
    doc[#doc + 1] = line:sub(4)
  elseif line:find("^function ") then
    close_class()
    local owner, separator, name, arguments = line:match("^function (%w+)([%.:])([%w_]+)(%b())")
    put("### `" .. names[owner] .. separator .. name .. arguments .. "`")
    put()
    local text = take_doc()
    if text ~= "" then put(text) put() end
    for _, p in ipairs(params) do put(p) end
    if #returns > 0 then put("- returns `" .. table.concat(returns, ", ") .. "`") end
    if #params > 0 or #returns > 0 then put() end
    params, returns = {}, {}
  elseif not line:find("^%-%-") and line ~= "" then
    close_class()
  end
end
close_class()
while out[#out] == "" do out[#out] = nil end
io.write(table.concat(out, "\n"), "\n")
