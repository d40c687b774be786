-- Outcomes of expectations, and expectations at the same time. An outcome is a check of the run as soon as it is known, unless it is
-- one of several of which any will do: then it belongs to those.
local native = require "iotix._core.native"

local M = {}

local collectors = {} -- of tasks that M.any started: task → { outcomes, open = subscriptions }

local function current() return collectors[native.task() or 0] end

local function say(collector, name, ok, detail)
  if collector then
    collector.outcomes[#collector.outcomes + 1] = { name = name, ok = ok, detail = detail }
  else
    native.check(name, ok, detail)
  end
end

--- Records an outcome. A failed one ends the function that expected it.
function M.record(name, ok, detail)
  say(current(), name, ok, detail)
  if not ok then error({ iotix_expect = true, message = name .. ": " .. detail }, 0) end
  return true
end

--- Subscriptions of a task that may be cut off are closed by who cuts it off.
function M.opened(subscription)
  local c = current()
  if c then c.open[subscription] = true end
end

function M.closed(subscription)
  local c = current()
  if c then c.open[subscription] = nil end
  native.observe_close(subscription)
end

local function is_expectation(problem)
  return type(problem) == "table" and (rawget(problem, "iotix_expect") or rawget(problem, "iotix_any"))
end

-- Starts each function in a task of its own; done(branch) is called in it when it is over.
local function start(functions, done)
  local outer = current()
  local branches = {}
  if outer then outer.nested = branches end
  for i, fn in ipairs(functions) do
    local branch = { number = i, outcomes = {}, open = {} }
    branches[i] = branch
    branch.task = assert(native.spawn(function()
      collectors[native.task()] = branch
      local ok, problem = xpcall(fn, native.traceback)
      collectors[native.task()] = nil
      branch.over, branch.ok, branch.problem = true, ok, problem
      done(branch, outer)
    end))
  end
  return branches
end

-- With what they have started themselves.
local function cut_off(branches)
  for _, b in ipairs(branches) do
    if not b.over then b.task:cancel() end
    if not b.over and b.nested then cut_off(b.nested) end
    for subscription in pairs(b.open) do native.observe_close(subscription) end
    b.open = {}
  end
  for task, c in pairs(collectors) do
    for _, b in ipairs(branches) do
      if c == b then collectors[task] = nil end
    end
  end
end

-- Mistakes of the author, iotix.abort and run:fail go on their way.
local function pass_on(branches)
  for _, b in ipairs(branches) do
    if b.over and not b.ok and not is_expectation(b.problem) then error(b.problem, 0) end
  end
end

local function wait_for(functions, enough)
  local parker, over = native.parker(), 0
  local branches = start(functions, function(branch, outer)
    over = over + 1
    enough.told(branch, outer)
    native.unpark(parker)
  end)
  while over < #functions and not enough.reached() do
    native.park(parker, "iotix.expect")
  end
  cut_off(branches)
  pass_on(branches)
  return branches
end

--- All functions at the same time; raises when one of their expectations has failed, after all are over.
function M.all(functions)
  local failed = {}
  wait_for(functions, {
    reached = function() return false end,
    told = function(branch, outer)
      for _, o in ipairs(branch.outcomes) do
        say(outer, o.name, o.ok, o.detail)
        if not o.ok then failed[#failed + 1] = o.name .. ": " .. o.detail end
      end
    end,
  })
  if #failed > 0 then error({ iotix_expect = true, message = table.concat(failed, "; ") }, 0) end
  return true
end

local function names_of(outcomes)
  local names = {}
  for i, o in ipairs(outcomes) do names[i] = o.name end
  return #names > 0 and table.concat(names, " and ") or "it returned"
end

local function last_failure(branch)
  for i = #branch.outcomes, 1, -1 do
    local o = branch.outcomes[i]
    if not o.ok then return o.name .. ": " .. o.detail end
  end
  return tostring(type(branch.problem) == "table" and rawget(branch.problem, "message") or branch.problem)
end

--- All functions at the same time, until one of them is over with all its expectations met: its number.
function M.any(functions, label)
  local winner
  local branches = wait_for(functions, {
    reached = function() return winner ~= nil end,
    told = function(branch) if branch.ok and not winner then winner = branch end end,
  })
  local name = label or "any of " .. #functions
  if winner then
    M.record(name, true, "number " .. winner.number .. ": " .. names_of(winner.outcomes))
    return winner.number
  end
  local texts = {}
  for i, b in ipairs(branches) do texts[i] = last_failure(b) end
  return M.record(name, false, table.concat(texts, " | "))
end

return M
