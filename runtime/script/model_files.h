// What product Lua needs to find, read and check device models; the same for a scenario and for the model tool.
#pragma once
#include <lua.h>

#define MODEL_FILE_MAX (1u << 20) // bytes of a model

struct model_files {
    char near[1024];         // directory that is searched first: the scenario's
    const char *const *dirs; // then these, borrowed
    unsigned n_dirs;
};

// Adds to the table at the top of the stack (of product code, authors never see it):
//   embedded(path)           text of a file that is compiled in | nil
//   model_places(near?)      list of directories in the order in which they are searched; near: in place of the first
//   model_read(path)         text | nil, what is wrong, "not_found" and the like
//   model_names(dir)         sorted names of the *.json files of a directory; empty when there is no such directory
//   model_real(path)         the file's one name, however it was reached | nil
//   model_parse(text, path)  true | nil, what C has against it: "PATH: /pointer: text"
// `files` must outlive the state.
void model_files_open(lua_State *L, const struct model_files *files);
