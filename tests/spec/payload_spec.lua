-- iotix.payload from a scenario: bytes that are made, bytes that are read, and what wrong arguments say at which line. Decoders that
-- others wrote read the same in tests/integration/payload_decode_spec.lua; single values of C are tested in tests/unit/telemetry.
local proc = require "integration.proc"

local HEAD = [[
local iotix = require "iotix"
local p, null = iotix.payload, iotix.json.null
local function hex(s) return (s:gsub(".", function(c) return string.format("%%02x", c:byte()) end)) end
local function bytes(s) return (s:gsub("%%x%%x", function(x) return string.char(tonumber(x, 16)) end)) end
local function is(got, want) if got ~= want then error("got " .. tostring(got) .. ", expected " .. tostring(want), 2) end end
local function fails(code, got, message, got_code)
  if got ~= nil or got_code ~= code or type(message) ~= "string" then
    error("expected nil, message, " .. code .. "; got " .. tostring(got) .. ", " .. tostring(message) .. ", " .. tostring(got_code), 2)
  end
end
%s
return iotix.scenario { name = "payload", duration = "1s", groups = { iotix.group { name = "g", behaviour = function() end } } }
]]
local HEAD_LINES = 11 -- in front of the body

local function load(body)
  local file = proc.write(proc.dir() .. "/s.lua", HEAD:format(body))
  local r = proc.run({ "--check", file }, 20)
  return r, r.out .. r.err
end

local function check(body)
  local r, text = load(body)
  assert.are.equal(0, r.code, text)
end

-- Every expression raises at its own line, with a message that has these words.
local function raises(cases)
  local lines = { "local ok, message" }
  for i, case in ipairs(cases) do
    lines[#lines + 1] = string.format("ok, message = pcall(function() local x = %s return x end) if ok or not message:find(%q, 1, true) or "
      .. "not message:find(%q, 1, true) then error(%q .. tostring(message), 0) end",
      case[1], case[2], ":" .. HEAD_LINES + i .. ": ", case[1] .. ": ")
  end
  check(table.concat(lines, "\n"))
end

describe("iotix.payload", function()
  teardown(proc.cleanup)

  it("finds what is wrong: the spec itself", function()
    local _, text = load('is(hex(p.cbor(1)), "02")')
    assert.is_truthy(text:find("got 01, expected 02", 1, true), text)
  end)

  it("is also a module of its own", function()
    check 'local q = require "iotix.payload" is(hex(q.cbor(1)), "01") is(pcall(function() q.cbor = 1 end), false)'
  end)

  it("makes CBOR, the same bytes for the same value", function()
    check [=[
is(hex(p.cbor(0)), "00") is(hex(p.cbor(-1)), "20") is(hex(p.cbor(1000000)), "1a000f4240")
is(hex(p.cbor(1.5)), "f93e00") is(hex(p.cbor(100000.5)), "fa47c35040") is(hex(p.cbor(1.1)), "fb3ff199999999999a")
is(hex(p.cbor(2^53)), "1b0020000000000000") is(hex(p.cbor(2^54)), "fa5a800000")
is(hex(p.cbor(1/0)), "f97c00") is(hex(p.cbor(0/0)), "f97e00")
is(hex(p.cbor(true)), "f5") is(hex(p.cbor(null)), "f6") is(hex(p.cbor(nil)), "f6")
is(hex(p.cbor("\195\188")), "62c3bc") is(hex(p.cbor("a\255")), "6461efbfbd")
is(hex(p.cbor(p.bytes("a\255\0"))), "4361ff00") is(hex(p.cbor(p.integer("9007199254740993"))), "1b0020000000000001")
is(hex(p.cbor {}), "a0") is(hex(p.cbor { 1, { 2 } }), "82018102")
is(hex(p.cbor { bb = 1, c = 2, a = 3, [""] = 4 }), "a460046161036163026262" .. "6201")
local many, text = {}, {}
for i = 1, 100 do many["k" .. i] = i end
is(p.cbor(many):byte(1), 0xb8) is(p.cbor(many):byte(2), 100) is(p.from_cbor(p.cbor(many)).k77, 77)
for i = 1, 10 do text[i] = p.cbor(many) is(text[i], text[1]) end
]=]
  end)

  it("says what has no CBOR form", function()
    check [=[
fails("invalid", p.cbor(print)) fails("invalid", p.cbor { 1, nil, 3 })
fails("invalid", p.cbor { 1, a = 2 }) fails("invalid", p.cbor { [1.5] = 1 })
local loop = {} loop.x = loop fails("invalid", p.cbor(loop))
local many = {} for i = 1, 1025 do many["k" .. i] = 1 end fails("limit", p.cbor(many))
local half = ("x"):rep(600000) fails("limit", p.cbor { half, half }) is(#p.cbor { half }, 600006)
]=]
    raises { { "p.cbor()", "iotix.payload.cbor: expected a value" } }
  end)

  it("reads CBOR", function()
    check [=[
local function read(h) return p.from_cbor(bytes(h)) end
is(read "1818", 24) is(read "3903e7", -1000) is(read "1bffffffffffffffff", 2^64) is(read "fb3ff199999999999a", 1.1) is(read "f5", true)
is(read "f6", null) is(read "f7", null) is(read "4301ff00", "\1\255\0") is(read "7f657374726561646d696e67ff", "streaming")
is(read "5f42010243030405ff", "\1\2\3\4\5") is(read "c249010000000000000000", 2^64) is(read "c349010000000000000000", -1 - 2^64)
is(read "c11a514b67b0", 1363896240) is(read "d818456449455446", "dIETF")
local t = read "bf61610161629f0203ff6163a0ff"
is(t.a, 1) is(t.b[2], 3) is(#t.b, 2) is(next(t.c), nil)
t = read "a201020304" is(t[1], 2) is(t[3], 4)
t = read "a16178f6" is(t.x, null)
local deep = read(("81"):rep(60) .. "01") for _ = 1, 60 do deep = deep[1] end is(deep, 1)
local value = { a = { 1, 2.5, "x", true, null }, b = { c = "\195\188" } }
is(iotix.json.encode(p.from_cbor(p.cbor(value))), iotix.json.encode(value))
fails("invalid", p.from_cbor "") fails("invalid", read "82") fails("invalid", read "0000")
fails("invalid", read "ff") fails("invalid", read "62c328")
fails("invalid", read "a2616101616102") fails("unsupported", read "a18001")
fails("unsupported", read "a1f97e0001") fails("unsupported", read "f0")
fails("limit", read(("81"):rep(65) .. "01")) fails("limit", p.from_cbor(("\128"):rep(2^20) .. "x"))
fails("limit", p.from_cbor("\154\0\1\0\0" .. ("\0"):rep(65536)))
]=]
    raises { { "p.from_cbor(5)", "iotix.payload.from_cbor: expected a string of bytes, got number" } }
  end)

  it("makes lines of CSV", function()
    check [=[
is(p.csv { 1, -2.5, "a", true, null, "" }, '1,-2.5,a,true,,""') is(p.csv {}, "")
is(p.csv { 'say "hi"', "a,b", "a;b", "x\ny", delimiter = ";" }, '"say ""hi""";a,b;"a;b";"x\ny"')
is(p.csv { p.bytes("\0\255"), p.integer(7), 0/0, delimiter = "\t" }, "AP8=\t7\t")
local half = ("x"):rep(600000) fails("limit", p.csv { half, half })
]=]
    raises {
      { "p.csv(1)", "iotix.payload.csv: expected a list of values, got number" },
      { "p.csv { 1, delimeter = ';' }", 'unknown key "delimeter"' },
      { "p.csv { 1, delimiter = 'ab' }", "delimiter: expected one character" },
      { "p.csv { 1, nil, 3 }", "a list with holes" },
      { "p.csv { 1, {} }", "value 2: expected a number, text, boolean or iotix.json.null, got table" },
    }
  end)

  it("makes lines of InfluxDB", function()
    check [=[
is(p.influx { measurement = "m m,", tags = { ["b="] = "x y", a = 1, empty = "", none = null }, time = 1706745599.123456,
  fields = { f = 21.5, n = p.integer(-3), s = 'q"\\', b = false, x = p.bytes "\0", none = null, nan = 0/0 } },
  'm\\ m\\,,a=1,b\\==x\\ y b=false,f=21.5,n=-3i,s="q\\"\\\\",x="AA==" 1706745599123456000')
is(p.influx { measurement = "m", fields = { v = 1 }, time = 2, precision = "ms" }, "m v=1 2000")
is(p.influx { measurement = "m", fields = { v = 1 }, time = false }, "m v=1")
is(p.influx({ measurement = "m", fields = { v = 1 } }):match("^m v=1 (%d+)$") ~= nil, true)
fails("invalid", p.influx { measurement = "m", fields = { v = null } }) fails("invalid", p.influx { measurement = "m", fields = {} })
local half = ("x"):rep(600000) fails("limit", p.influx { measurement = "m", fields = { a = half, b = half } })
]=]
    raises {
      { "p.influx(1)", "iotix.payload.influx: expected a table" },
      { "p.influx { measurment = 'm' }", 'did you mean "measurement"?' },
      { "p.influx { fields = { v = 1 } }", "measurement: expected a name" },
      { "p.influx { measurement = '_m', fields = { v = 1 } }", "measurement: expected a name that does not begin with _" },
      { "p.influx { measurement = 'm' }", "fields: at least one is needed" },
      { "p.influx { measurement = 'm', fields = 5 }", "fields: expected a table, got number" },
      { "p.influx { measurement = 'm', fields = { 5 } }", "fields: expected names as keys, there is a number" },
      { "p.influx { measurement = 'm', fields = { time = 5 } }", 'InfluxDB keeps the name "time"' },
      { "p.influx { measurement = 'm', fields = { v = {} } }", "fields: v: expected a number, text, boolean" },
      { "p.influx { measurement = 'm', fields = { v = 1 }, tags = { _x = 1 } }", "begin with _" },
      { "p.influx { measurement = 'm', fields = { v = 1 }, time = 'now' }", "time: expected seconds since 1970" },
      { "p.influx { measurement = 'm', fields = { v = 1 }, precision = 'm' }", "precision: expected one of ns, us, ms, s" },
    }
  end)

  it("packs and unpacks binary", function()
    check [=[
is(hex(p.pack("bBhH", -1, 255, -2, 65535)), "fffffeffffff") is(hex(p.pack(">i I", -2, 4294967295)), "fffffffeffffffff")
is(hex(p.pack("lL", -1, 2^63)), "ffffffffffffffff0000000000000080") is(hex(p.pack(">i3I5", -3, 2^40 - 1)), "fffffdffffffffff")
is(hex(p.pack("fd>f", 1.5, -2, 1.5)), "0000c03f00000000000000c03fc00000")
is(hex(p.pack("s1>s2s4z", "a", "bc", "", "d")), "01610002626300000000" .. "6400")
is(hex(p.pack("Bx<B", 1, 2)), "010002") is(p.pack(""), "") is(hex(p.pack("s1", p.bytes "\255")), "01ff")
is(hex(p.pack("l", p.integer "9007199254740993")), "0100000000002000")
local a, b, c, d, e, after = p.unpack("<bH>i3fz", "\254\1\2\255\255\253\63\192\0\0hi\0rest")
is(a, -2) is(b, 513) is(c, -3) is(d, 1.5) is(e, "hi") is(after, 14)
is(select(2, p.unpack("s1", "xx\2ab", 3)), 6) is((p.unpack("s1", "xx\2ab", 3)), "ab") is(p.unpack("", ""), 1)
is((p.unpack("L", ("\255"):rep(8))), 2^64) is((p.unpack("l", ("\255"):rep(8))), -1) is((p.unpack("d", p.pack("d", 1e300))), 1e300)
for _, f in ipairs { "b", "h", "i3", "i", "i7", "l" } do
  is((p.unpack(f, p.pack(f, -77))), -77) is((p.unpack(">" .. f, p.pack(">" .. f, 77))), 77) end
fails("invalid", p.unpack("H", "a")) fails("invalid", p.unpack("s2", "\5\0ab")) fails("invalid", p.unpack("z", "abc"))
fails("invalid", p.unpack("s4", "\255\255\255\255a")) fails("invalid", p.unpack("B", "ab", 3))
local half = ("x"):rep(600000) fails("limit", p.pack("zz", half, half))
]=]
    raises {
      { "p.pack(5)", 'iotix.payload.pack: expected a format such as "<Hs2f", got number' },
      { "p.pack('q', 1)", '"q" at 1 is no format; valid: < > b B' },
      { "p.pack('BBs', 1, 1, 'x')", '"s" at 3 is no format' },
      { "p.pack('i9', 1)", '"i9" at 2 is no format' },
      { "p.pack('s3', 'x')", '"s3" at 2 is no format' },
      { "p.pack(('B'):rep(257))", "at most 256 characters" },
      { "p.pack('B', 256)", 'value 1 ("B"): expected a whole number from 0 to 255, got 256' },
      { "p.pack('BB', 1, -1)", 'value 2 ("B"): expected a whole number from 0 to 255, got -1' },
      { "p.pack('h', 1.5)", 'value 1 ("h"): expected a whole number from -32768 to 32767, got 1.5' },
      { "p.pack('l', 2^63)", 'value 1 ("l"): expected a whole number' },
      { "p.pack('L', p.integer(-1))", 'value 1 ("L"): expected a whole number' },
      { "p.pack('B')", 'value 1 ("B"): expected a whole number, got nothing' },
      { "p.pack('B', 'x')", 'value 1 ("B"): expected a whole number, got string' },
      { "p.pack('B', 1, 2)", 'the format "B" takes 1 values, there are 2' },
      { "p.pack('f', 1e300)", "does not fit into 4 bytes; use d" },
      { "p.pack('f', 'x')", "expected a number, got string" },
      { "p.pack('z', 'a\\0b')", "the string has a zero inside" },
      { "p.pack('s1', ('x'):rep(256))", "the string is longer than its length can say" },
      { "p.pack('z', 5)", 'value 1 ("z"): expected a string, got number' },
      { "p.unpack('B', 5)", "iotix.payload.unpack: expected a string of bytes, got number" },
      { "p.unpack('B', 'a', 3)", "position: expected a whole number from 1 to 2" },
      { "p.unpack('B', 'a', 0)", "position: expected a whole number from 1 to 2" },
    }
  end)

  it("marks bytes and whole numbers", function()
    check [=[
is(tostring(p.bytes "a\0b"), "a\0b") is(#tostring(p.bytes ""), 0)
is(tostring(p.integer(-5)), "-5") is(tostring(p.integer "9223372036854775807"), "9223372036854775807")
is(getmetatable(p.bytes "x"), nil) fails("invalid", p.cbor(iotix.gen.constant(1)))
local ok, message = iotix.json.encode(p.bytes "x") is(ok, nil) is(message, "a userdata has no JSON form")
]=]
    raises {
      { "p.bytes(5)", "iotix.payload.bytes: expected a string, got number" },
      { "p.integer(1.5)", "expected a whole number of at most 64 bits, got 1.5" },
      { "p.integer(2^63)", "expected a whole number of at most 64 bits" },
      { "p.integer(0/0)", "expected a whole number" },
      { "p.integer('x')", "iotix.payload.integer: " },
      { "p.integer({})", "expected a whole number (or its digits as a string), got table" },
    }
  end)

  it("makes payloads of Sparkplug B", function()
    check [=[
local at = 1706745599.123
is(hex(p.sparkplug { seq = 255, timestamp = at,
  metrics = { { alias = 1, value = true }, { name = "n", value = p.integer(2), timestamp = 1 } } }),
  "0893a9dc8fd631" .. "120b10011893a9dc8fd6317001" .. "12080a016e18e8075802" .. "18ff01")
is(hex(p.sparkplug { birth = true, timestamp = 1,
  metrics = { { name = "t", alias = 3, type = "Int8", value = -1 }, { name = "u", type = "UUID" } } }),
  "08e807" .. "12100a0174100318e807200150ffffffff0f" .. "120a0a017518e807200f3801" .. "1800")
is(hex(p.sparkplug { death = true, bd_seq = 3, timestamp = 1 }), "08e807" .. "120e0a05626453657118e80720045803")
is(hex(p.sparkplug { birth = true, bd_seq = 3, timestamp = 1, metrics = {} }),
  "08e807" .. "120e0a05626453657118e80720045803" .. "121d0a144e6f646520436f6e74726f6c2f5265626972746818e807200b7000" .. "1800")
-- of a name that the birth has told, data has the alias only
is(hex(p.sparkplug { seq = 1, timestamp = 1, metrics = { { name = "t", alias = 3, value = 1.5 } } }),
  "08e807" .. "120e100318e80769000000000000f83f" .. "1801")
local half = ("x"):rep(600000)
fails("limit", p.sparkplug { seq = 1, metrics = { { name = "a", value = half }, { name = "b", value = half } } })
]=]
    raises {
      { "p.sparkplug(1)", "iotix.payload.sparkplug: expected a table" },
      { "p.sparkplug { metrics = {} }", "seq: data needs one" },
      { "p.sparkplug { metrics = {}, seq = 256 }", "seq: expected a whole number from 0 to 255" },
      { "p.sparkplug { metric = {}, seq = 1 }", 'did you mean "metrics"?' },
      { "p.sparkplug { seq = 1 }", "metrics: expected a list of tables, got nil" },
      { "p.sparkplug { seq = 1, metrics = { 5 } }", "metrics[1]: expected a table such as" },
      { "p.sparkplug { seq = 1, metrics = { { value = 5 } } }", "metrics[1]: name: expected a string, got nil" },
      { "p.sparkplug { seq = 1, metrics = { { name = 'a', val = 5 } } }", 'metrics[1]: unknown key "val"' },
      { "p.sparkplug { seq = 1, metrics = { { name = 'a', value = {} } } }", "value: expected a number, text, boolean" },
      { "p.sparkplug { seq = 1, metrics = { { name = 'a', type = 'Int9', value = 1 } } }", "expected one of Int8, Int16" },
      { "p.sparkplug { seq = 1, metrics = { { name = 'a', type = 'Int8', value = 128 } } }", "value: 128 does not fit into Int8" },
      { "p.sparkplug { seq = 1, metrics = { { name = 'a', type = 'Int8', value = 'x' } } }", "value: a string is no Int8" },
      { "p.sparkplug { seq = 1, metrics = { { name = 'a', alias = -1, value = 1 } } }", "alias: expected a whole number" },
      { "p.sparkplug { birth = true, metrics = { { alias = 1, value = 1 } } }", "name: expected a string" },
      { "p.sparkplug { birth = true, metrics = { { name = 'a' } } }", "type: a metric without a value needs one in a birth" },
      { "p.sparkplug { birth = true, death = true }", "birth and death: one of them" },
      { "p.sparkplug { death = true }", "bd_seq: a death needs that of its birth" },
      { "p.sparkplug { death = true, bd_seq = 1, seq = 1 }", "seq: a death has none" },
      { "p.sparkplug { seq = 1, timestamp = 'x', metrics = {} }", "timestamp: expected seconds since 1970" },
    }
  end)
end)
