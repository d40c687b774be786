// What the files that bind iotix.payload share. Private to them.
#pragma once
#include "script/internal.h"
#include "telemetry/value.h"

// Made by payload.bytes and payload.integer: Lua has no types of its own for them.
struct handle_bytes {
    uint32_t tag;
    size_t n;
    char bytes[];
};

struct handle_integer {
    uint32_t tag;
    int64_t v;
};

enum { PAYLOAD_DEPTH_MAX = 32, PAYLOAD_KEYS_MAX = 1024 };

// The scalar at idx: number, payload.integer, boolean, string, payload.bytes, nil or iotix.json.null. False: it is
// something else. The bytes are the Lua value's own.
bool payload_scalar(lua_State *L, int idx, struct value *out);

// The keys of the table at idx, all of them strings, sorted by their bytes; shorter_first: shorter ones before longer
// ones, the order of RFC 8949, 4.2.1. -1: err (a key that is no string, more than PAYLOAD_KEYS_MAX). Never throws; what
// is between create and destroy must not either.
struct payload_key {
    const char *s; // the table's own
    size_t n;
};
struct payload_keys {
    struct payload_key few[32], *list; // list: few, or more from the heap
    unsigned n;
};
int payload_keys_create(struct payload_keys *k, lua_State *L, int idx, bool shorter_first, struct error *err);
void payload_keys_destroy(struct payload_keys *k);

// Whether the table at idx is a list 1..n (then n) or empty or has keys (then 0); -1: err, holes or both kinds.
int payload_list_length(lua_State *L, int idx, struct error *err);

// Ends a function: pushes what is in the scenario's scratch buffer, or nil, text, code; the buffer is empty again.
int payload_push(lua_State *L, struct scenario *s);
int payload_fail(lua_State *L, struct scenario *s, enum error_code code, const char *text);

// payload_cbor.c
int payload_cbor(lua_State *L);
int payload_from_cbor(lua_State *L);
// payload_pack.c
int payload_pack(lua_State *L);
int payload_unpack(lua_State *L);
// payload_text.c
int payload_csv(lua_State *L);
int payload_influx(lua_State *L);
// payload_sparkplug.c
int payload_sparkplug(lua_State *L);
