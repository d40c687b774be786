// Where an error of a Lua text is: LuaJIT's compiler names the line and the token, but no column.
#pragma once
#include <lua.h>
#include <stddef.h>

// The column (from 1, in bytes) of the token that the compiler's message ("path:line: … near 'x'") complains of; 0: not
// found. Every place of its line where the token stands is tried: what ends right behind the offending one is
// refused with the same words. L: for these tries; nothing stays on its stack.
int syntax_column(lua_State *L, const char *text, size_t n, const char *chunk, const char *message);

// Takes "path:line: message" or "path:line:column: message" apart. Returns where the message begins; line and column
// are 0 when there are none, path_len is then 0 as well.
const char *syntax_position(const char *text, size_t *path_len, int *line, int *column);
