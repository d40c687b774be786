-- JSON for authors: encode as payloads are encoded (keys sorted), decode with limits.
local native = require "iotix._core.native"
local cjson = require("cjson.safe").new()
cjson.decode_invalid_numbers(false) -- "nan" is not JSON

local M = { null = cjson.null }

--- Text of a value; nil, message when it has no JSON form.
function M.encode(value)
  return native.json(value)
end

--- Value of a text; nil, message when it is not JSON or larger than 1 MB.
function M.decode(text)
  if type(text) ~= "string" then error("iotix.json.decode: expected a string, got " .. type(text), 2) end
  if #text > 1048576 then return nil, "the text is larger than 1 MB" end
  return cjson.decode(text)
end

return M
