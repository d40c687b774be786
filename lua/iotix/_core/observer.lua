-- The observer of a test, a client that is no part of the simulation: connected when it is first needed.
local native = require "iotix._core.native"

local M = {}

local CONNECT_SECONDS = 10

--- true | nil, message, code. Tasks of a test may ask at the same time: who comes second waits for the first one's attempt.
function M.connect(broker)
  local deadline = native.elapsed() + CONNECT_SECONDS
  while true do
    local ok, problem, code = native.observer_connect(CONNECT_SECONDS, broker)
    if ok or code ~= "state" or native.elapsed() >= deadline then return ok, problem, code end
    native.sleep(0.02)
  end
end

--- Raises at the line of who called the function that calls this, unless the test runs.
function M.needs_test(what)
  if not native.in_test() then error(what .. " works in the test function of a scenario only", 3) end
end

return M
