// require, twice: the author's and the product's.
//
// The author's finds what the product offers ("iotix", "iotix.*", but nothing whose name has a part starting with "_")
// as a read-only view, and files beside the scenario: names of [A-Za-z0-9_] joined by dots, opened beneath script_dir,
// no symbolic link out of it. The product's finds embedded files (lua/iotix/...) and preloaded C modules. Both run a
// module once, and name the cycle when modules require each other in a circle.
#pragma once
#include <lua.h>
#include <stdbool.h>
#include "core/error.h"

// Pushes the author's require. author_env: stack index (absolute) of the environment its modules run in.
// script_dir may be NULL; it is copied.
void modules_push_author(lua_State *L, const char *script_dir, int author_env);
// The author's module NAME in the file dir/NAME.lua, run once: pushes what it returned. False: there is no such file;
// pushes its path. Raises what the module raises. Only for product code: the directory is its choice.
bool modules_author_file(lua_State *L, const char *dir, const char *name);
// Pushes the text of a file beneath dir, no link out of it. -1 with errno; nothing is pushed.
int modules_read(lua_State *L, const char *dir, const char *rel);
// Pushes the product's require; modules_set_env says where product modules run.
void modules_push_product(lua_State *L);
// At the top of the stack: the environment of product modules (popped).
void modules_set_env(lua_State *L);
// Makes the registry tables; first of all.
void modules_open(lua_State *L);
void modules_preload(lua_State *L, const char *name, lua_CFunction open);
