-- What the steps of broker.lua and broker5.lua share.
local iotix = require "iotix"

local M = {}

M.version = iotix.env("VERSION", "3.1.1")
M.max_qos = tonumber(iotix.env("MAX_QOS", "2"))

local left_out, known = {}, {}
for name in iotix.env("WITHOUT", ""):gmatch("[^,]+") do left_out[name] = true end

--- Whether that step, or part of one, is left out for this broker.
function M.without(name)
  known[name] = true
  return left_out[name]
end

--- An error for names in WITHOUT that nobody has asked for.
function M.check_without()
  for name in pairs(left_out) do
    if not known[name] then error("WITHOUT: there is no step " .. name) end
  end
end

--- Base of the topics on which devices say that they came to their end; retained, so that it is no matter who is first.
M.done = iotix.env("DONE", "done")

--- A connection of the version that is asked for.
function M.connection(options)
  options.version = M.version
  return iotix.mqtt(options)
end

--- What no answer of a broker tells: that it has done what it was asked for behind the acknowledgement.
function M.settle() iotix.sleep("200ms") end

--- Waits until condition() is true, and returns that; an error after 10 s.
function M.wait_for(what, condition)
  for _ = 1, 500 do
    local value = condition()
    if value then return value end
    iotix.sleep("20ms")
  end
  error(what .. " did not come")
end

--- Messages that come in, in order, of a device or another connection: wait() gives the next.
function M.inbox(side, filter, options)
  local box = { first = 1, last = 0 }
  assert(side:subscribe(filter, options, function(m)
    box.last = box.last + 1
    box[box.last] = m
  end))
  function box.wait()
    M.wait_for("message " .. box.first .. " to " .. filter, function() return box.first <= box.last end)
    box.first = box.first + 1
    return box[box.first - 1]
  end
  function box.has() return box.last - box.first + 1 end
  return box
end

return M
