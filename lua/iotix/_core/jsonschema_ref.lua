--- Where a `$ref` leads: base URIs ($id), references (RFC 3986, section 5.2) and JSON pointers (RFC 6901) of draft-07.
--
-- A registry knows the schemas by absolute URI. A document is walked once, through the keywords that hold schemas
-- only, so that an "$id" inside an enum or a property named "$id" is none. Nothing is ever fetched: a document that
-- is not given is an error.

local json = require "iotix._core.json"
local draft07 = require "iotix._core.jsonschema_draft07"

local char = string.char
local gsub, match, sub, find = string.gsub, string.match, string.sub, string.find

local M = {}

local function parse_uri(uri)
  local u, rest = {}, uri
  local scheme, after = match(rest, "^([%a][%w+.-]*):(.*)$")
  if scheme then
    u.scheme, rest = scheme, after
  end
  local before, fragment = match(rest, "^([^#]*)#(.*)$")
  if before then
    rest, u.fragment = before, fragment
  end
  local path, query = match(rest, "^([^?]*)%?(.*)$")
  if path then
    rest, u.query = path, query
  end
  local authority, tail = match(rest, "^//([^/]*)(.*)$")
  if authority then
    u.authority, rest = authority, tail
  end
  u.path = rest
  return u
end

local function remove_dots(path)
  local out, absolute = {}, sub(path, 1, 1) == "/"
  local tail = find(path, "/%.?%.?$") or path == "." or path == ".."
  for segment in string.gmatch(path, "[^/]+") do
    if segment == ".." then
      out[#out] = nil
    elseif segment ~= "." then
      out[#out + 1] = segment
    end
  end
  local text = (absolute and "/" or "") .. table.concat(out, "/")
  if tail and sub(text, -1) ~= "/" and #out > 0 then
    text = text .. "/"
  end
  return text
end

local function build_uri(u)
  return (u.scheme and u.scheme .. ":" or "") .. (u.authority and "//" .. u.authority or "") .. u.path
    .. (u.query and "?" .. u.query or "")
end

--- Resolves a reference against a base.
-- @param base string absolute URI, or "" when there is none
-- @param ref string
-- @return string URI without fragment
-- @return string fragment ("" when there is none)
function M.resolve(base, ref)
  local r, b = parse_uri(ref), parse_uri(base)
  local t = { query = r.query }
  if r.scheme then
    t.scheme, t.authority, t.path = r.scheme, r.authority, remove_dots(r.path)
    if not r.authority and sub(r.path, 1, 1) ~= "/" then
      t.path = r.path -- urn:… has no segments
    end
  elseif r.authority then
    t.scheme, t.authority, t.path = b.scheme, r.authority, remove_dots(r.path)
  else
    t.scheme, t.authority = b.scheme, b.authority
    if r.path == "" then
      t.path, t.query = b.path, r.query or b.query
    elseif sub(r.path, 1, 1) == "/" then
      t.path = remove_dots(r.path)
    else
      local dir = b.authority and b.path == "" and "/" or match(b.path, "^(.*/)") or ""
      t.path = remove_dots(dir .. r.path)
    end
  end
  return build_uri(t), r.fragment or ""
end

local resolve = M.resolve
local single = { "additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames",
  "then" }
local lists = { "allOf", "anyOf", "oneOf", "items" }
local maps = { "definitions", "dependencies", "patternProperties", "properties" }

local Registry = {}
Registry.__index = Registry

--- A registry with the documents that references may lead to.
-- @param documents table|nil absolute URI -> decoded schema
-- @return table
function M.new(documents)
  local self = setmetatable({ schemas = {}, anchors = {}, base_of = {}, documents = {} }, Registry)
  for uri, document in pairs(documents or {}) do
    self.documents[gsub(uri, "#.*$", "") .. ""] = document
  end
  return self
end

--- Walks a document (or a part that is first reached by a reference) and notes its identifiers.
function Registry:index(schema, base)
  if json.type(schema) ~= "object" or self.base_of[schema] then
    return
  end
  local id = schema["$id"]
  if type(id) == "string" and schema["$ref"] == nil then
    local uri, fragment = resolve(base, id)
    if sub(id, 1, 1) == "#" and fragment ~= "" then
      self.anchors[base .. "#" .. fragment] = schema
    else
      base = uri
      self.schemas[base] = self.schemas[base] or schema
    end
  end
  self.base_of[schema] = base
  for _, key in ipairs(single) do
    self:index(schema[key], base)
  end
  for _, key in ipairs(lists) do
    if json.type(schema[key]) == "array" then
      for _, item in ipairs(schema[key]) do
        self:index(item, base)
      end
    end
  end
  for _, key in ipairs(maps) do
    if json.type(schema[key]) == "object" then
      for _, item in pairs(schema[key]) do
        self:index(item, base)
      end
    end
  end
end

--- Registers the schema that is compiled. Returns its base.
function Registry:root(schema)
  self.schemas[""] = schema
  self:index(schema, "")
  return type(schema) == "table" and self.base_of[schema] or ""
end

function Registry:document(uri)
  local known = self.schemas[uri]
  if known ~= nil then
    return known
  end
  local document = self.documents[uri]
  if document == nil and uri == draft07.uri then
    document = draft07.schema()
  end
  if document ~= nil then
    self.schemas[uri] = document
    self:index(document, uri)
  end
  return document
end

local function unescape(token)
  token = gsub(token, "%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end)
  token = gsub(token, "~1", "/")
  return (gsub(token, "~0", "~"))
end

--- Finds what a reference means.
-- @param ref string
-- @param base string
-- @return table|boolean|nil schema
-- @return string base of it, or the reason why there is none
-- @return string|nil its address, for messages
function Registry:find(ref, base)
  local uri, fragment = resolve(base, ref)
  local node = self:document(uri)
  local address = uri .. "#" .. fragment
  if node == nil then
    return nil, '"' .. ref .. '" leads to a document that is not given (' .. (uri == "" and "none" or uri) .. ")"
  end
  if fragment ~= "" and sub(fragment, 1, 1) ~= "/" then
    node = self.anchors[address]
    if node == nil then
      return nil, '"' .. ref .. '" names no $id "#' .. fragment .. '"'
    end
    return node, self.base_of[node], address
  end
  base = type(node) == "table" and self.base_of[node] or uri
  for token in string.gmatch(fragment, "/([^/]*)") do
    local t = json.type(node)
    token = unescape(token)
    if t == "array" and match(token, "^%d+$") then
      node = node[tonumber(token) + 1]
    elseif t == "object" then
      node = node[token]
    else
      node = nil
    end
    if node == nil then
      return nil, '"' .. ref .. '" leads nowhere, there is no "' .. token .. '"'
    end
    base = type(node) == "table" and self.base_of[node] or base
  end
  self:index(node, base)
  if type(node) == "table" then
    base = self.base_of[node] or base
  end
  return node, base, address
end

return M
