// Lua 5.1 patterns with a budget: string.find, match, gmatch and gsub for authors.
//
// Results are those of LuaJIT's own functions. What differs: a call that needs more than PATTERN_STEPS steps is an
// error, so are patterns over 256 bytes, subjects over 64 KB (1 MB when the pattern has no magic characters) and
// results over 1 MB. With the originals a 30-byte pattern can keep a thread busy for hours, and no hook can interrupt a
// C function.
#pragma once
#include <lua.h>

#define PATTERN_STEPS 1000000
#define PATTERN_MAX 256
#define PATTERN_SUBJECT_MAX 65536
#define PATTERN_PLAIN_MAX 1048576

int pattern_find(lua_State *L);
int pattern_match(lua_State *L);
int pattern_gmatch(lua_State *L);
int pattern_gsub(lua_State *L);
