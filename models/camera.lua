-- What models/camera.json leaves to Lua. A generator gets ctx: params of the model, time in seconds, index of the device, and a table
-- `state` of its own. A command gets the command and the device, and may take its time.
local M = {}

-- Grey pixels (PGM): a bright square wanders over a gradient.
local function picture(w, h, at)
  local row = {}
  for x = 0, w - 1 do row[x + 1] = string.char(x >= at and x < at + 8 and 255 or math.floor(x * 200 / w)) end
  return "P5 " .. w .. " " .. h .. " 255\n" .. string.rep(table.concat(row), h)
end

function M.frame(ctx)
  local w = ctx.params.width
  ctx.state.at = ((ctx.state.at or ctx.index * 7) + 3) % (w - 8)
  return picture(w, ctx.params.height, ctx.state.at)
end

function M.motion(ctx) return math.random() < ctx.params.chance end

-- A picture on demand; it takes a moment.
function M.snapshot(cmd, dev)
  dev:sleep("150ms")
  local bytes = picture(160, 120, 40)
  dev:publish("snapshot", bytes)
  return { bytes = #bytes, quality = cmd.params.quality or 80 }
end

return M
