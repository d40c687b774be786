// The author's string and table libraries: LuaJIT's own functions where they are bounded, replacements or a check in
// front where one call could run or grow without end.
#pragma once
#include <lua.h>

#define STRLIB_RESULT_MAX 1048576 // bytes of one string made by rep, format, concat
#define STRLIB_TABLE_MAX 1000000  // elements that insert, remove, sort walk over

// Pushes the library as a plain table. The originals are taken from the state's globals "string" and "table".
void strlib_push_string(lua_State *L);
void strlib_push_table(lua_State *L);
// Whether the value at idx is one of our read-only proxies (its metatable says __metatable = false).
int strlib_is_readonly(lua_State *L, int idx);
