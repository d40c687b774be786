-- Payloads other than JSON. The functions are C, so that what they raise stands at the author's line; see
-- lua/iotix/_meta/iotix.lua for what they take.
local payload = require("iotix._core.native").payload

local M = {}

M.bytes = payload.bytes
M.integer = payload.integer
M.cbor = payload.cbor
M.from_cbor = payload.from_cbor
M.csv = payload.csv
M.influx = payload.influx
M.pack = payload.pack
M.unpack = payload.unpack
M.sparkplug = payload.sparkplug

return M
