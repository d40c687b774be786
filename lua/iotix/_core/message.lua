-- Messages as handlers and expectations see them: { topic, payload, qos, retain } and, decoded when first asked for, `json`.
local native = require "iotix._core.native"
local json = require "iotix.json"

local meta = {
  __metatable = false,
  __index = function(message, key)
    if key ~= "json" then return nil end
    local value = json.decode(rawget(message, "payload"))
    rawset(message, "json", value == nil and false or value)
    return value == nil and false or value
  end,
}

native.message_meta(meta)

return meta
