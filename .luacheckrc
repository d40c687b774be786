std = "luajit"
max_line_length = 140
codes = true
self = false
exclude_files = { "build" }
files["lua/iotix/_meta"] = { ignore = { "" } }
files["tests/spec"] = { std = "+busted" }
files["tests/integration"] = { std = "+busted", max_line_length = false }
files["tests/unit/script/attacks"] = { ignore = { "" } }
