-- Makes the recordings of this directory, which are invented and free to use:  luajit models/data/make.lua
--   load-profile.csv        a household's day in quarters of an hour
--   ecg-250hz-s16le.bin     twelve seconds of an electrocardiogram, 250 samples a second, 16 bits signed, little-endian, microvolts
--   route-berlin.csv        a round through the middle of Berlin
local dir = arg[0]:match("^(.*)/") or "."

local function write(name, bytes)
  local file = assert(io.open(dir .. "/" .. name, "wb"))
  file:write(bytes)
  file:close()
end

-- A small generator of its own, so that every machine makes the same bytes.
local state = 42
local function random()
  state = (state * 16807) % 2147483647
  return state / 2147483647
end

local function bump(x, at, width) return math.exp(-((x - at) / width) ^ 2 / 2) end

-- Power in watts at an hour of the day: a base, breakfast, lunch, a long evening, and the fridge.
local rows = { "timestamp,power_w" }
for quarter = 0, 95 do
  local hour = quarter / 4
  local power = 140 + 900 * bump(hour, 7.2, 0.6) + 500 * bump(hour, 12.5, 0.8) + 1400 * bump(hour, 19.3, 1.6)
  power = power + (quarter % 3 == 0 and 90 or 0) + 60 * random()
  rows[#rows + 1] = string.format("2024-03-04T%02d:%02d:00Z,%.0f", math.floor(hour), quarter % 4 * 15, power)
end
write("load-profile.csv", table.concat(rows, "\n") .. "\n")

-- Waves of a heart beat: height in microvolts, place in the beat, width, the two in seconds.
local waves = { { 120, 0.16, 0.025 }, { -90, 0.265, 0.010 }, { 1100, 0.29, 0.011 }, { -220, 0.32, 0.012 }, { 280, 0.52, 0.045 } }
local samples, beat_from, beat = {}, 0, 0.82
for i = 0, 12 * 250 - 1 do
  local t = i / 250
  if t >= beat_from + beat then
    beat_from, beat = beat_from + beat, 0.82 + 0.06 * (random() - 0.5)
  end
  local value = 40 * math.sin(2 * math.pi * t * 0.25) + 12 * (random() - 0.5) -- breathing and noise
  for _, wave in ipairs(waves) do value = value + wave[1] * bump(t - beat_from, wave[2], wave[3]) end
  local n = math.floor(value + 0.5) % 65536
  samples[#samples + 1] = string.char(n % 256, math.floor(n / 256))
end
write("ecg-250hz-s16le.bin", table.concat(samples))

write("route-berlin.csv", [[
lat,lon,alt
52.51628,13.37771,34
52.51862,13.37618,34
52.52083,13.36948,35
52.52508,13.36934,36
52.52677,13.38721,36
52.52260,13.40206,35
52.51887,13.40126,34
52.51727,13.39772,34
52.51361,13.39259,34
52.50976,13.37638,34
52.51245,13.37663,34
52.51628,13.37771,34
]])
