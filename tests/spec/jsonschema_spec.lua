-- The JSON decoder, the regular expressions and the schema validator: the official suite of draft-07, and the words of every
-- violation. Run from anywhere: busted --lua=/usr/bin/luajit tests/spec

local root = debug.getinfo(1, "S").source:match("^@(.*)tests/spec/[^/]*$") or "./"
package.path = root .. "lua/?.lua;" .. package.path

local json = require "iotix._core.json"
local jsonschema = require "iotix._core.jsonschema"
local regex = require "iotix._core.regex"

local suite = os.getenv("JSON_SCHEMA_TEST_SUITE") or "/usr/share/json-schema-test-suite"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function decode(text)
  local value, problem = json.decode(text, { allow_nul = true })
  assert(value ~= nil, tostring(problem))
  return value
end

-- Violations of the JSON text `instance` under the JSON text `schema`, with places.
local function violations(schema, instance)
  local value, problem, positions = json.decode(instance)
  assert(value ~= nil, tostring(problem))
  local validator = assert(jsonschema.compile(decode(schema)))
  local ok, errors = validator:validate(value, positions)
  assert.are.equal(#errors == 0, ok)
  return errors
end

local function only(schema, instance)
  local errors = violations(schema, instance)
  assert.are.equal(1, #errors, jsonschema.format(errors))
  return errors[1]
end

describe("the official draft-07 suite", function()
  local present = io.open(suite .. "/tests/draft7/type.json")
  if not present then
    it("is installed", function()
      local why = "json-schema-test-suite is missing: apt-get install json-schema-test-suite"
      assert(os.getenv("CI") ~= "true", why)
      pending(why)
    end)
    return
  end
  present:close()

  local function list(pattern)
    local out = {}
    local pipe = io.popen("ls " .. pattern .. " 2>/dev/null")
    for line in pipe:lines() do
      out[#out + 1] = line
    end
    pipe:close()
    return out
  end

  local documents = {}
  for _, path in ipairs(list(suite .. "/remotes/*.json " .. suite .. "/remotes/*/*.json")) do
    documents["http://localhost:1234" .. path:sub(#suite + #"/remotes" + 1)] = decode(read(path))
  end

  local cases = 0
  local files = list(suite .. "/tests/draft7/*.json")
  -- of the optional ones, those that we claim
  files[#files + 1] = suite .. "/tests/draft7/optional/bignum.json"
  files[#files + 1] = suite .. "/tests/draft7/optional/zeroTerminatedFloats.json"
  for _, path in ipairs(files) do
    for _, group in ipairs(decode(read(path))) do
      it(path:match("[^/]*$") .. ": " .. group.description, function()
        local validator = assert(jsonschema.compile(group.schema, { documents = documents }))
        for _, case in ipairs(group.tests) do
          cases = cases + 1
          local ok, errors = validator:validate(case.data)
          assert.are.equal(case.valid, ok, case.description .. "\n" .. jsonschema.format(errors))
        end
      end)
    end
  end

  it("was really run", function()
    assert.is_true(#files >= 35 and cases >= 400, cases .. " cases in " .. #files .. " files")
  end)
end)

describe("what the Debian suite leaves out", function()
  local function check(schema, instance, valid, documents)
    local validator = assert(jsonschema.compile(decode(schema), { documents = documents }))
    local ok = validator:validate(decode(instance))
    assert.are.equal(valid, ok, schema .. " " .. instance)
  end

  it("takes an $id inside enum or const for a plain value", function()
    local schema = [[{"definitions": {"id_in_enum": {"enum": [{"$id": "http://x/a.json", "type": "null"}]},
      "real": {"$id": "http://x/a.json", "type": "string"}}, "$ref": "http://x/a.json"}]]
    check(schema, '"a string"', true)
    check(schema, "1", false)
  end)

  it("takes a property named $ref or $id for a property", function()
    check('{"properties": {"$ref": {"type": "string"}, "$id": {"type": "number"}}}', '{"$ref": "a", "$id": 1}', true)
    check('{"properties": {"$ref": {"type": "string"}}}', '{"$ref": 2}', false)
  end)

  it("resolves anchors, pointers with escapes, and pointers through unknown keywords", function()
    check('{"$ref": "#here", "definitions": {"a": {"$id": "#here", "type": "integer"}}}', "1.5", false)
    check('{"$ref": "#/definitions/a~1b%25~0c", "definitions": {"a/b%~c": {"type": "integer"}}}', '"x"', false)
    check('{"$ref": "#/own/deep", "own": {"deep": {"type": "integer"}}}', '"x"', false)
    check('{"$ref": "#/allOf/1", "allOf": [true, {"type": "integer"}]}', '"x"', false)
    check('{"$id": "urn:uuid:1", "properties": {"a": {"$ref": "#/definitions/b"}}, "definitions": {"b": {"minimum": 2}}}',
      '{"a": 1}', false)
  end)

  it("ignores an $id beside a $ref", function()
    local schema = [[{"$id": "http://h/s/base/", "allOf": [{"$id": "http://h/s/", "$ref": "foo.json"}], "definitions": {
      "a": {"$id": "http://h/s/foo.json", "type": "string"}, "b": {"$id": "foo.json", "type": "number"}}}]]
    check(schema, "1", true)
    check(schema, '"a"', false)
    check('{"$ref": "http://h/x", "definitions": {"b": {"$id": "http://h/x", "$ref": "#/definitions/c"}, "c": {}}}', "1", true,
      { ["http://h/x"] = true }) -- an $id that is ignored names nothing
  end)

  it("resolves relative references as RFC 3986 does", function()
    local resolve = require("iotix._core.jsonschema_ref").resolve
    local base = "http://a/b/c/d;p?q"
    local wanted = { ["g"] = "http://a/b/c/g", ["./g"] = "http://a/b/c/g", ["g/"] = "http://a/b/c/g/", ["/g"] = "http://a/g",
      ["//g"] = "http://g", ["?y"] = "http://a/b/c/d;p?y", ["g?y"] = "http://a/b/c/g?y", [""] = "http://a/b/c/d;p?q",
      ["."] = "http://a/b/c/", [".."] = "http://a/b/", ["../g"] = "http://a/b/g", ["../../g"] = "http://a/g",
      ["../../../g"] = "http://a/g", ["g:h"] = "g:h", ["g;x=1/../y"] = "http://a/b/c/y", ["#s"] = "http://a/b/c/d;p?q" }
    for ref, uri in pairs(wanted) do
      assert.are.equal(uri, (resolve(base, ref)), ref)
    end
  end)

  it("compares deeply, 1 and 1.0 alike, true and 1 not", function()
    check('{"uniqueItems": true}', '[{"a": [1, {"b": 2}], "c": 3}, {"c": 3.0, "a": [1.0, {"b": 2}]}]', false)
    check('{"uniqueItems": true}', '[1, true, "1", [1], {"1": 1}, null, false, 0]', true)
    check('{"uniqueItems": true}', '[0, -0.0]', false)
    check('{"const": {}}', "[]", false)
    check('{"const": []}', "{}", false)
    check('{"uniqueItems": true}', '[[], {}]', true)
    check('{"enum": ["a\\u0000b"]}', '"a\\u0000b"', true)
    check('{"enum": ["a\\u0000b"]}', '"a"', false)
  end)

  it("counts code points", function()
    check('{"minLength": 2}', '"\\ud83d\\udca9"', false)
    check('{"maxLength": 2}', '"\\ud83d\\udca9é"', true)
  end)

  it("divides decimal fractions", function()
    check('{"multipleOf": 0.01}', "4.35", true)
    check('{"multipleOf": 0.01}', "4.355", false)
    check('{"multipleOf": 0.1}', "1000000000.05", false)
    check('{"multipleOf": 3}', "9007199254740991", false)
    check('{"multipleOf": 1e-300}', "1e300", false)
  end)

  it("uses a document that is given, and fetches none", function()
    check('{"$ref": "http://x.org/a"}', "1", false, { ["http://x.org/a"] = decode('{"type": "string"}') })
    check('{"$ref": "http://x.org/a#/definitions/b"}', '"s"', true,
      { ["http://x.org/a#"] = decode('{"definitions": {"b": {"type": "string"}}}') })
  end)
end)

describe("a schema that is none", function()
  local function refused(schema, says)
    local validator, message = jsonschema.compile(decode(schema))
    assert.is_nil(validator, schema)
    for _, part in ipairs(says) do
      assert.is_truthy(message:find(part, 1, true), message)
    end
  end

  it("is refused with the pointer", function()
    refused('{"properties": {"a": {"minimum": "1"}}}', { "/properties/a/minimum", "must be a number", '"1"' })
    refused('{"items": [{"type": "strnig"}]}', { "/items/0/type", "integer", "strnig" })
    refused('{"pattern": "("}', { "/pattern", "not a regular expression", "no closing )" })
    refused('{"patternProperties": {"[": {}}}', { "/patternProperties/[", "no closing ]" })
    refused('{"required": "a"}', { "/required", "must be an array" })
    refused('{"required": [1]}', { "/required/0", "must be a string" })
    refused('{"minLength": -1}', { "/minLength", "whole number of at least 0" })
    refused('{"multipleOf": 0}', { "/multipleOf", "above 0" })
    refused('{"anyOf": []}', { "/anyOf", "must not be empty" })
    refused('{"anyOf": [1]}', { "/anyOf/0", "must be a schema" })
    refused('{"properties": []}', { "/properties", "must be an object" })
    refused('{"properties": {"a/b": 1}}', { "/properties/a~1b" })
    refused('{"uniqueItems": 1}', { "/uniqueItems", "must be a boolean" })
    refused('{"dependencies": {"a": [1]}}', { "/dependencies/a/0" })
    refused("3", { "the root", "must be a schema" })
    refused('{"properties": {"a": {"$ref": "#/definitions/x"}}}', { "/properties/a/$ref", 'there is no "definitions"' })
    refused('{"$ref": "other.json"}', { "/$ref", "not given", "other.json" })
    refused('{"$ref": "#name"}', { "/$ref", 'names no $id "#name"' })
    refused('{"$ref": 1}', { "/$ref", "must be a string" })
  end)
end)

describe("a violation", function()
  it("names the pointer, the rule, what is asked and what is there", function()
    local e = only('{"properties": {"telemetry": {"items": {"properties": {"intervalMs": {"minimum": 100}}}}}}',
      '{"telemetry": [{"intervalMs": 50}]}')
    assert.are.equal("/telemetry/0/intervalMs", e.pointer)
    assert.are.equal("minimum", e.rule)
    assert.are.equal("must be >= 100, is 50", e.message)
    assert.is_nil(e.at_key)
  end)

  local texts = {
    { '{"type": "integer"}', "1.5", "type", "must be an integer, is 1.5" },
    { '{"type": ["string", "null"]}', "[1]", "type", "must be a string or null, is an array" },
    { '{"type": "object"}', '"abc"', "type", 'must be an object, is the string "abc"' },
    { '{"maximum": 1}', "2", "maximum", "must be <= 1, is 2" },
    { '{"exclusiveMinimum": 1}', "1", "exclusiveMinimum", "must be > 1, is 1" },
    { '{"exclusiveMaximum": 1}', "1", "exclusiveMaximum", "must be < 1, is 1" },
    { '{"multipleOf": 5}', "7", "multipleOf", "must be a multiple of 5, is 7" },
    { '{"minLength": 1}', '""', "minLength", "must have at least 1 character, has 0" },
    { '{"maxLength": 2}', '"abc"', "maxLength", "must have at most 2 characters, has 3" },
    { '{"minItems": 1}', "[]", "minItems", "must have at least 1 item, has 0" },
    { '{"maxItems": 0}', "[1]", "maxItems", "must have at most 0 items, has 1" },
    { '{"minProperties": 1}', "{}", "minProperties", "must have at least 1 key, has 0" },
    { '{"maxProperties": 1}', '{"a":1,"b":2}', "maxProperties", "must have at most 1 key, has 2" },
    { '{"pattern": "^[a-z]$"}', '"A"', "pattern", 'must match the pattern ^[a-z]$, is the string "A"' },
    { '{"uniqueItems": true}', "[1,2,1]", "uniqueItems", "items must differ from each other, 0 and 2 are equal" },
    { '{"const": 1}', "2", "const", "must be 1, is 2" },
    { '{"enum": ["sensor", "actuator"]}', '"sensr"', "enum",
      'must be one of "sensor", "actuator", is the string "sensr"; did you mean "sensor"?' },
    { '{"required": ["a"]}', "{}", "required", 'required key "a" is missing' },
    { '{"dependencies": {"a": ["b"]}}', '{"a":1}', "dependencies", 'key "a" needs the key "b" beside it' },
    { '{"contains": {"minimum": 5}}', "[1]", "contains", "one item at least must be as asked; nearest: /0 must be >= 5, is 1" },
    { '{"contains": true}', "[]", "contains", "one item at least must be as asked, it is empty" },
    { '{"not": {"required": ["a", "b"]}}', '{"a":1,"b":2}', "not", 'must not have "a" and "b" together' },
    { '{"not": {}}', "1", "not", "is what the schema's `not` forbids" },
    { "false", "1", "false", "not allowed here" },
    { '{"oneOf": [{"type": "number"}, {"minimum": 1}]}', "2", "oneOf",
      "must match exactly one of 2 alternatives, matches numbers 1 and 2" },
    { '{"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}', "{}", "oneOf",
      'exactly one of the keys "a", "b" is needed, none is there' },
    { '{"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}', '{"a":1,"b":2}', "oneOf",
      'exactly one of the keys "a", "b" is needed, there are 2' },
  }
  for _, t in ipairs(texts) do
    it("says: " .. t[4], function()
      local e = only(t[1], t[2])
      assert.are.equal(t[4], e.message)
      assert.are.equal(t[3], e.rule)
      assert.are.equal("", e.pointer)
    end)
  end

  it("of an unknown key names the key, the valid ones and what was meant", function()
    local schema = '{"properties": {"name": {}, "type": {}, "intervalMs": {}}, "additionalProperties": false}'
    local e = only(schema, '{"intervallMs": 5}')
    assert.are.equal('unknown key "intervallMs"; valid: name, type, intervalMs; did you mean "intervalMs"?', e.message)
    assert.are.equal("/intervallMs", e.pointer)
    assert.are.equal("additionalProperties", e.rule)
    assert.are.same({ "name", "type", "intervalMs" }, e.valid)
    e = only(schema, '{"zzzzzz": 5}')
    assert.are.equal('unknown key "zzzzzz"; valid: name, type, intervalMs', e.message)
    e = only('{"additionalProperties": false}', '{"a": 5}')
    assert.are.equal('unknown key "a"; no keys are valid here', e.message)
  end)

  it("of a key's name points at the key", function()
    local e = only('{"propertyNames": {"pattern": "^[a-z]+$"}}', '{"ok": 1,\n "No": 2}')
    assert.are.equal("/No", e.pointer)
    assert.are.equal('the key must match the pattern ^[a-z]+$, is the string "No"', e.message)
    assert.are.same({ 2, 2 }, { e.line, e.column })
  end)

  it("of a tuple names the item that is too many", function()
    local e = only('{"items": [{}], "additionalItems": false}', "[1, 2]")
    assert.are.equal("/1", e.pointer)
    assert.are.equal("additionalItems", e.rule)
  end)

  it("lists the alternatives of an enum", function()
    assert.are.same({ "a", "b" }, only('{"enum": ["a", "b"]}', "1").valid)
  end)

  it("of an if names what the branch hangs on", function()
    local schema = [[{"if": {"properties": {"type": {"const": "walk"}}, "required": ["type"]},
      "then": {"required": ["step"]}, "else": {"required": ["min"]}}]]
    assert.are.equal('required key "step" is missing (when type is "walk")', only(schema, '{"type": "walk"}').message)
    assert.are.equal('required key "min" is missing (unless type is "walk")', only(schema, '{"type": "x"}').message)
  end)

  it("of branches comes from the nearest one", function()
    local schema = [[{"oneOf": [
      {"properties": {"kind": {"const": "a"}, "x": {"type": "number"}}, "required": ["kind", "x"]},
      {"properties": {"kind": {"const": "b"}, "y": {"type": "number"}}, "required": ["kind", "y"]},
      {"type": "string"}]}]]
    local e = only(schema, '{"kind": "b", "y": "z"}')
    assert.are.equal("/y", e.pointer)
    assert.are.equal('must be a number, is the string "z"', e.message)
    e = only(schema, '{"kind": "a"}')
    assert.are.equal('required key "x" is missing', e.message)
    -- near is not the same as few: the kind decides, and the type of the whole before that
    local errors = violations([[{"anyOf": [
      {"properties": {"kind": {"const": "a"}}},
      {"properties": {"kind": {"enum": ["b"]}}, "required": ["x", "y"]},
      {"type": "string"}]}]], '{"kind": "b"}')
    assert.are.equal(2, #errors)
    assert.are.equal('required key "y" is missing', errors[2].message)
    errors = violations([[{"anyOf": [{"type": "string"}, {"properties": {"x": {"const": 1}, "y": {"const": 1}}}]}]],
      '{"x": 2, "y": 2}')
    assert.are.equal(2, #errors)
    assert.are.equal("/x", errors[1].pointer)
    e = only('{"anyOf": [{"type": "string"}, {"type": "null"}]}', "1")
    assert.are.equal("must be a string or null, is 1", e.message)
    e = only('{"anyOf": [{"enum": ["a"]}, {"const": "b"}]}', '"c"')
    assert.are.equal('must be one of "a", "b", is the string "c"; did you mean "a"?', e.message)
  end)

  it("comes with all the others, in the order of the text, once each", function()
    local schema = [[{"properties": {"a": {"type": "string"}, "b": {"minimum": 5}, "c": {"$ref": "#/definitions/d"}},
      "allOf": [{"properties": {"b": {"minimum": 5}}}], "required": ["z"], "definitions": {"d": {"enum": [1]}}}]]
    local errors = violations(schema, '{\n  "c": 2,\n  "a": 1,\n  "b": 3}')
    local seen = {}
    for i, e in ipairs(errors) do
      seen[i] = e.pointer .. ":" .. e.line .. ":" .. e.column
    end
    assert.are.same({ ":1:1", "/c:2:8", "/a:3:8", "/b:4:8" }, seen)
    assert.are.equal('f.json:1:1: the document: required key "z" is missing\nf.json:2:8: /c: must be 1, is 2\n'
      .. 'f.json:3:8: /a: must be a string, is 1\nf.json:4:8: /b: must be >= 5, is 3', jsonschema.format(errors, "f.json"))
  end)

  it("is capped at 100", function()
    local items = {}
    for i = 1, 500 do
      items[i] = tostring(i)
    end
    local errors = violations('{"items": {"type": "string"}}', "[" .. table.concat(items, ",") .. "]")
    assert.are.equal(100, #errors)
    assert.is_true(errors.truncated)
    assert.is_truthy(jsonschema.format(errors):find("and more"))
  end)

  it("of a plain table made in Lua works as well", function()
    local validator = assert(jsonschema.compile({ properties = { a = { items = { type = "number" } } },
      additionalProperties = false }))
    assert.is_true(validator:validate({ a = { 1, 2 } }))
    local ok, errors = validator:validate({ a = { 1, "x" }, b = 1 })
    assert.is_false(ok)
    assert.are.equal("/a/1", errors[1].pointer)
    assert.are.equal("/b", errors[2].pointer)
  end)
end)

describe("a hostile input", function()
  it("that leads back to itself is an error, not a hang", function()
    local e = only('{"$ref": "#"}', "1")
    assert.are.equal("limit", e.rule)
    assert.is_truthy(e.message:find("leads? back to itself") or e.message:find("lead back to itself"))
    e = only('{"allOf": [{"$ref": "#/definitions/a"}], "definitions": {"a": {"anyOf": [{"$ref": "#/definitions/a"}]}}}', "1")
    assert.are.equal("limit", e.rule)
  end)

  it("that doubles its work at every level is an error, not a hang", function()
    local parts = {}
    for i = 1, 40 do
      parts[i] = ('"d%d": {"allOf": [{"$ref": "#/definitions/d%d"}, {"$ref": "#/definitions/d%d"}]}'):format(i, i + 1, i + 1)
    end
    local e = only('{"$ref": "#/definitions/d1", "definitions": {' .. table.concat(parts, ",") .. ', "d41": {}}}', "1")
    assert.is_truthy(e.message:find("steps"))
  end)

  it("with a table that contains itself is an error", function()
    local loop = {}
    loop.a = loop
    local validator = assert(jsonschema.compile(decode('{"$ref": "#/definitions/n", '
      .. '"definitions": {"n": {"properties": {"a": {"$ref": "#/definitions/n"}}}}}')))
    local ok, errors = validator:validate(loop)
    assert.is_false(ok)
    assert.are.equal("limit", errors[1].rule)
  end)

  it("with a catastrophic pattern is an error", function()
    local e = only('{"pattern": "^(a+)+$"}', '"' .. ("a"):rep(40) .. 'b"')
    assert.are.equal("limit", e.rule)
    assert.is_truthy(e.message:find("1000000 steps"))
  end)
end)

describe("regular expressions", function()
  local yes = {
    { "a+", "xaay" }, { "^a*$", "" }, { "a|b|", "x" }, { "^(a|ab)(c|bcd)(d*)$", "abcd" }, { "(a*)*b", "aab" },
    { "^\\d{3}-\\d{2,}$", "123-4567" }, { "^.{2,4}$", "äöü" }, { "^.$", "💩" }, { "^[^a-z]$", "A" }, { "^[\\w-]+$", "a-b_c" },
    { "^[\\d.-]+$", "1.-2" }, { "^(?=.*\\d)(?=.*[a-z]).{4,8}$", "abc1" }, { "^(?!foo)", "barfoo" }, { "(?<=a)b", "ab" },
    { "(?<!a)b", "cb" }, { "(?<=ab+)c", "xabbbc" }, { "^(a)\\1$", "aa" }, { "^(?<x>..)\\k<x>$", "abab" }, { "\\bfoo\\b", "a foo b" },
    { "\\Boo", "foo" }, { "^\\u00e1$", "á" }, { "^\\uD83D\\uDCA9$", "💩" }, { "^\\u{1F4A9}$", "💩" }, { "^\\x41\\cJ$", "A\n" },
    { "^a+?b", "aaab" }, { "^a{2}?$", "aa" }, { "^x{", "x{" }, { "^]}$", "]}" }, { "^{a}$", "{a}" }, { "^(?:(a)|b)*\\1$", "ab" },
    { "^\\S(|(.|\\n)*\\S)$", "a b c" }, { "^.{0,65535}$", ("x"):rep(60000) }, { "^(ab){2,3}$", "ababab" }, { "[^]", "\n" },
    { "^\\s+$", " \t\194\160\239\187\191" }, { "", "" }, { "^.*?,", "ab,c" }, { "^(.+)+$", ("a"):rep(5000) },
    { "(?=(a+))a*b\\1", "baaabac" }, { "^\\0$", "\0" }, { "^[\\b]$", "\b" }, { "^[\\w-.]$", "-" }, { "^\\-\\/$", "-/" },
    { "^(?:(?=a)){3}a", "a" }, { "^[\\u0041-\\u0043]+$", "ABC" }, { "^\\W\\D\\S$", "- x" },
  }
  local no = {
    { "^a*$", "aab" }, { "^\\d{3}$", "1234" }, { "^[^a-z]$", "b" }, { "^(?=.*\\d)(?=.*[a-z]).{4,8}$", "abcd" },
    { "^(?!foo)", "foobar" }, { "(?<=a)b", "cb" }, { "(?<!a)b", "ab" }, { "^(a)\\1$", "ab" }, { "\\bfoo\\b", "afoo" },
    { "a.c", "a\nc" }, { "^(ab){2,3}$", "abababab" }, { "[]", "a" }, { "^(?:a{3}){2}$", "aaaaa" }, { "^\\d$", "٣" },
    { "^\\w$", "é" }, { "$a", "a" }, { "^a$", "a\n" }, { "^(x{1000}){10}", ("x"):rep(9999) }, { "^\\d+?$", "12a" },
    { "^(?=(a+?))\\1b", "aab" }, -- a look-ahead keeps its first answer, and a lazy one is short
  }
  local wrong = {
    { "(", "no closing )" }, { "a)", "without its (" }, { "*a", "nothing to repeat" }, { "a**", "nothing to repeat" },
    { "[z-a]", "out of order" }, { "\\Z", "unknown escape \\Z" }, { "[", "no closing ]" }, { "\\p{L}", "not supported" },
    { "a{3,2}", "out of order" }, { "((((a{100}){100}){100}))", "too large" }, { "\\", "backslash at the end" },
    { "\\u12", "four hexadecimal" }, { "\\u{110000}", "code point" }, { "\\xg", "two hexadecimal" }, { "(?<a>x)(?<a>y)", "two groups" },
    { "\\k<b>", "names no group" }, { "\\2(a)", "names no group" }, { "(?x)", "unknown kind of group" }, { "{2}", "nothing to repeat" },
    { ("("):rep(300) .. (")"):rep(300), "more than 200 deep" }, { "^*", "nothing to repeat" }, { ("a"):rep(70000), "bytes" },
  }
  it("match", function()
    for _, t in ipairs(yes) do
      assert.are.equal(true, assert(regex.compile(t[1])):find(t[2]), t[1])
    end
  end)
  it("do not match", function()
    for _, t in ipairs(no) do
      assert.are.equal(false, assert(regex.compile(t[1])):find(t[2]), t[1])
    end
  end)
  it("that are none say why", function()
    for _, t in ipairs(wrong) do
      local re, message = regex.compile(t[1])
      assert.is_nil(re, t[1])
      assert.is_truthy(message:find(t[2], 1, true), message)
    end
  end)
  it("end within their budget", function()
    for _, t in ipairs { { "^(a+)+$", ("a"):rep(30) .. "b" }, { "^(([a-z])+.)+[A-Z]([a-z])+$", ("a"):rep(60) },
      { "(a*)*c", ("a"):rep(3000) }, { "a*a*a*a*a*b", ("a"):rep(3000) }, { "(?=(a*)*b)c", ("a"):rep(100) } } do
      local found, message = assert(regex.compile(t[1])):find(t[2])
      assert.is_nil(found, t[1])
      assert.is_truthy(message:find("steps"), t[1])
    end
  end)
end)

describe("the JSON decoder", function()
  local wrong = {
    { '{"a":1,\n "a":2}', 2, 2, 'duplicate key "a"' }, { "[1,]", 1, 3, "comma before the closing ']'" },
    { '{"a":1,}', 1, 7, "comma before the closing '}'" }, { "[01]", 1, 2, "leading zeros" }, { "[1.]", 1, 3, "needs a digit" },
    { "[1e]", 1, 3, "exponent" }, { "nul", 1, 1, 'found "nul"' }, { '"\\ud800"', 1, 2, "high surrogate" },
    { '"\\udc00"', 1, 2, "low surrogate" }, { '"a\nb"', 1, 3, "over the end of a line" }, { "", 1, 1, "the end of the text" },
    { "[1 2]", 1, 4, "expected ',' or ']'" }, { "{a:1}", 1, 2, "key in double quotes" }, { "{'a':1}", 1, 2, "double quotes" },
    { "// x\n1", 1, 1, "no comments" }, { '{"a":1}\n x', 2, 2, "end of the text" }, { "[-]", 1, 2, "expected a value" },
    { "1e999", 1, 1, "too large" }, { '"\255"', 1, 2, "invalid UTF-8" }, { '"\237\160\128"', 1, 2, "invalid UTF-8" },
    { '"\192\128"', 1, 2, "invalid UTF-8" }, { '"\\u0000"', 1, 2, "NUL" }, { '"\\x"', 1, 2, "invalid escape" },
    { '{"a" 1}', 1, 6, "expected ':'" }, { "[1", 1, 3, "end of the text" }, { '"abc', 1, 1, "no closing quote" },
    { ("["):rep(65) .. ("]"):rep(65), 1, 65, "more than 64 deep" }, { "NaN", 1, 1, "expected a value" },
    { '"\1"', 1, 2, "control character 0x01" }, { "+1", 1, 1, "expected a value" }, { ".5", 1, 1, "expected a value" },
    { "0x10", 1, 1, "not a number" }, { "[1}", 1, 3, "expected ',' or ']'" }, { "\0", 1, 1, "control character" },
  }
  for _, t in ipairs(wrong) do
    it("says " .. t[4], function()
      local value, problem = json.decode(t[1])
      assert.is_nil(value)
      assert.are.same({ t[2], t[3] }, { problem.line, problem.column })
      assert.is_truthy(problem.message:find(t[4], 1, true), problem.message)
      assert.are.equal(("line %d, column %d: %s"):format(t[2], t[3], problem.message), tostring(problem))
    end)
  end

  it("keeps arrays, objects, null and the order of keys", function()
    local v = decode('{"z": [], "a": {}, "m": null, "b": false}')
    assert.are.equal("array", json.type(v.z))
    assert.are.equal("object", json.type(v.a))
    assert.are.equal(json.null, v.m)
    assert.are.equal(false, v.b)
    assert.are.same({ "z", "a", "m", "b" }, json.keys(v))
    assert.are.equal('{"z":[],"a":{},"m":null,"b":false}', json.encode(v))
  end)

  it("knows where every value stands", function()
    local _, _, p = json.decode('{"b": {"x/y": [1,\n   22]},\n"a": null}')
    assert.are.same({ line = 2, column = 4 }, p["/b/x~1y/1"])
    assert.are.same({ line = 3, column = 6, key_line = 3, key_column = 1 }, p["/a"])
    assert.are.same({ line = 1, column = 1 }, p[""])
  end)

  it("takes what is JSON", function()
    assert.are.equal(-1500, decode("-1.5e3"))
    assert.are.equal("😀/\"\\\b\f\n\r\té", decode('"\\ud83d\\ude00\\/\\"\\\\\\b\\f\\n\\r\\t\\u00e9"'))
    assert.are.equal("array", json.type(decode("\239\187\191 [1]\n"))) -- a byte order mark
    assert.are.equal("array", json.type(decode(("["):rep(64) .. ("]"):rep(64))))
    assert.are.equal(false, (json.decode("false")))
  end)

  it("refuses what is too long", function()
    local value, problem = json.decode((" "):rep(json.max_bytes + 1))
    assert.is_nil(value)
    assert.is_truthy(problem.message:find("at most"))
  end)
end)
