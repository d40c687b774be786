// The JSON encoder of payloads: script/json.c. Every case also checks that the Lua stack is as it was, and that a
// failure leaves nothing in the buffer.
#include "world.h"
#include <lualib.h>
#include "script/internal.h"

struct coder {
    struct guard *guard;
    lua_State *L;
    struct buf out;
    struct error err;
};

static int setup(void **state)
{
    struct coder *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    struct guard_config config = {0};
    c->guard = guard_new(&config, false, &c->err);
    assert_non_null(c->guard);
    c->L = guard_state(c->guard);
    static const lua_CFunction libraries[] = {luaopen_base, luaopen_string};
    for (unsigned i = 0; i < 2; i++) {
        lua_pushcfunction(c->L, libraries[i]);
        lua_call(c->L, 0, 0);
    }
    buf_create(&c->out, 1u << 20);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct coder *c = *state;
    assert_int_equal(lua_gettop(c->L), 0);
    buf_destroy(&c->out);
    guard_delete(c->guard);
    free(c);
    return 0;
}

// Leaves the value of the expression on the stack.
static void value_of(struct coder *c, const char *expression)
{
    char code[1024];
    snprintf(code, sizeof(code), "%s%s", strncmp(expression, "local", 5) ? "return " : "", expression);
    if (luaL_loadstring(c->L, code) || lua_pcall(c->L, 0, 1, 0))
        fail_msg("%s: %s", expression, lua_tostring(c->L, -1));
}

// Encodes the value at the top with something in the buffer already and something below it on the stack.
static int encode_top(struct coder *c)
{
    lua_pushliteral(c->L, "below");
    lua_insert(c->L, -2);
    buf_clear(&c->out);
    assert_int_equal(buf_append_str(&c->out, "> "), 0);
    c->err = (struct error){0};
    int rc = json_encode_value(c->L, -1, &c->out, &c->err);
    assert_int_equal(lua_gettop(c->L), 2);
    assert_string_equal(lua_tostring(c->L, 1), "below");
    lua_settop(c->L, 0);
    if (rc) {
        assert_int_equal(c->out.len, 2);
        assert_int_not_equal(c->err.code, ERR_NONE);
    }
    return rc;
}

static void gives(struct coder *c, const char *expression, const char *text)
{
    value_of(c, expression);
    if (encode_top(c))
        fail_msg("%s: %s", expression, c->err.text);
    if (strcmp(buf_cstr(&c->out) + 2, text))
        fail_msg("%s: expected %s, got %s", expression, text, buf_cstr(&c->out) + 2);
}

static void fails(struct coder *c, const char *expression, enum error_code code, const char *text)
{
    value_of(c, expression);
    if (!encode_top(c))
        fail_msg("%s: expected \"%s\", got %s", expression, text, buf_cstr(&c->out));
    assert_int_equal(c->err.code, code);
    if (!strstr(c->err.text, text))
        fail_msg("%s: expected \"%s\", got \"%s\"", expression, text, c->err.text);
}

static void test_scalars(void **state)
{
    struct coder *c = *state;
    gives(c, "nil", "null");
    gives(c, "true", "true");
    gives(c, "false", "false");
    gives(c, "''", "\"\"");
    gives(c, "'a\"b\\\\c\\n\\0'", "\"a\\\"b\\\\c\\n\\u0000\"");
    gives(c, "'\\255x\\195\\164\\195'", "\"\xef\xbf\xbdx\xc3\xa4\xef\xbf\xbd\""); // invalid UTF-8 is replaced
    fails(c, "print or function() end", ERR_INVALID, "a function has no JSON form");
    lua_pushlightuserdata(c->L, NULL); // cjson.null
    assert_int_equal(encode_top(c), 0);
    assert_string_equal(buf_cstr(&c->out) + 2, "null");
    lua_newuserdata(c->L, 8);
    assert_int_not_equal(encode_top(c), 0);
    assert_int_equal(c->err.code, ERR_INVALID);
}

static void test_numbers(void **state)
{
    struct coder *c = *state;
    gives(c, "0/0", "null");
    gives(c, "1/0", "null");
    gives(c, "-1/0", "null");
    gives(c, "-0", "0");
    gives(c, "21.5", "21.5");
    gives(c, "0.1", "0.1");
    gives(c, "-3", "-3");
    gives(c, "1e6", "1000000");
    gives(c, "1e-7", "1e-07");
    gives(c, "1e-300", "1e-300");
    gives(c, "2^53", "9007199254740992");
    gives(c, "2^53 + 2", "9007199254740994");
    gives(c, "-2^60", "-1.152921504606847e+18");
    gives(c, "1700000000.123456", "1700000000.123456"); // iotix.now() keeps its microseconds
    gives(c, "1.7976931348623157e308", "1.7976931348623157e+308");
}

// What is written reads back as the same number, but for what lies beyond the ninth decimal of a usual one.
static void test_numbers_read_back(void **state)
{
    struct coder *c = *state;
    struct rng rng;
    rng_seed(&rng, 11);
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t bits = rng_u64(&rng);
        double v, back;
        memcpy(&v, &bits, sizeof(v));
        lua_pushnumber(c->L, v);
        assert_int_equal(encode_top(c), 0);
        const char *text = buf_cstr(&c->out) + 2;
        if (v - v != 0) { // NaN and infinities
            assert_string_equal(text, "null");
            continue;
        }
        back = strtod(text, NULL);
        double a = v < 0 ? -v : v, off = v < back ? back - v : v - back;
        if (a >= 1e-3 && a < 1e6 ? off > 1e-9 : back != v) // NOLINT: equality is meant
            fail_msg("%.17g is written as %s", v, text);
    }
}

static void test_tables(void **state)
{
    struct coder *c = *state;
    gives(c, "{}", "{}");
    gives(c, "{1, 'b', {3}}", "[1,\"b\",[3]]");
    fails(c, "{1, nil, 3}", ERR_INVALID, "a list with holes");
    gives(c, "{b = 1, a = {d = true, c = {}}, ['a b'] = 'x', aa = 2, [''] = 3}",
          "{\"\":3,\"a\":{\"c\":{},\"d\":true},\"a b\":\"x\",\"aa\":2,\"b\":1}");
    gives(c, "{['\\255'] = 1}", "{\"\xef\xbf\xbd\":1}");
    fails(c, "{1, 2, x = 3}", ERR_INVALID, "both list items and named keys");
    fails(c, "{x = 3, [1] = 1}", ERR_INVALID, "both list items and named keys");
    // As many keys as the list is long: counting is not enough to see the named one.
    fails(c, "{nil, 2, x = 3}", ERR_INVALID, "both list items and named keys");
    fails(c, "{[1.5] = 1}", ERR_INVALID, "no JSON form");
    fails(c, "{[true] = 1}", ERR_INVALID, "no JSON form");
    fails(c, "{a = {b = {1, function() end}}}", ERR_INVALID, "a function has no JSON form");
    fails(c, "{a = function() end}", ERR_INVALID, "a function has no JSON form");
    // Metamethods are not called.
    gives(c, "setmetatable({a = 1}, {__index = error, __len = error, __pairs = error, __tostring = error})",
          "{\"a\":1}");
}

static void test_depth(void **state)
{
    struct coder *c = *state;
    gives(c, "local t = 1 for i = 1, 3 do t = {t} end return t", "[[[1]]]");
    value_of(c, "local t = 1 for i = 1, 32 do t = {t} end return t");
    assert_int_equal(encode_top(c), 0);
    fails(c, "local t = 1 for i = 1, 33 do t = {t} end return t", ERR_INVALID, "nested deeper than 32");
    fails(c, "local t = 1 for i = 1, 33 do t = {k = t} end return t", ERR_INVALID, "nested deeper than 32");
    fails(c, "local t = {} t.t = t return t", ERR_INVALID, "contains itself");
    fails(c, "local t = {} t[1] = t return t", ERR_INVALID, "contains itself");
}

// More keys than fit on the C stack (24), exactly as many as there may be (1,024), one more; also inside of another.
static void test_many_keys(void **state)
{
    struct coder *c = *state;
    static const unsigned counts[] = {16, 17, 24, 25, 100, 1024};
    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        char code[200];
        snprintf(code, sizeof(code),
                 "local t = {} for i = %u, 1, -1 do t[string.rep('k', i %% 7) .. i] = i end return t", counts[i]);
        value_of(c, code);
        assert_int_equal(encode_top(c), 0);
        // Sorted by bytes, each once.
        char last[64] = "";
        unsigned n = 0;
        for (const char *at = buf_cstr(&c->out) + 2; (at = strchr(at + 1, '"')); n++) {
            char key[64] = "";
            const char *end = strchr(at + 1, '"');
            assert_non_null(end);
            snprintf(key, sizeof(key), "%.*s", (int)(end - at - 1), at + 1);
            if (strcmp(last, key) >= 0)
                fail_msg("%s stands behind %s", key, last);
            snprintf(last, sizeof(last), "%s", key);
            at = end;
        }
        assert_int_equal(n, counts[i]);
    }
    fails(c, "local t = {} for i = 1, 1025 do t['k' .. i] = i end return t", ERR_LIMIT, "more than 1024 keys");
    fails(c, "local t = {} for i = 1, 1025 do t['k' .. i] = i end return {{a = t}}", ERR_LIMIT, "more than 1024 keys");
    fails(c, "local t = {} for i = 1, 100 do t['k' .. i] = i end t.x = print or function() end return {t}", ERR_INVALID,
          "function");
}

static void test_buffer_cap(void **state)
{
    struct coder *c = *state;
    static const char *const values[] = {"'0123456789012345678901234567890123456789'",
                                         "{'0123456789', '0123456789', '0123456789'}",
                                         "{a = '0123456789', b = '0123456789', c = 1, d = true}",
                                         "{{{{{{{{{{{{{{{{{{}}}}}}}}}}}}}}}}}}",
                                         "{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}",
                                         "{true, false, nil, 1.5e-9, 0/0, true}"};
    for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        value_of(c, values[i]);
        assert_int_equal(encode_top(c), 0);
        uint32_t whole = c->out.len;
        for (uint32_t cap = 2; cap < whole; cap++) {
            buf_destroy(&c->out);
            buf_create(&c->out, cap);
            fails(c, values[i], ERR_LIMIT, "larger than its buffer");
        }
        buf_destroy(&c->out);
        buf_create(&c->out, whole);
        value_of(c, values[i]);
        assert_int_equal(encode_top(c), 0);
        buf_destroy(&c->out);
        buf_create(&c->out, 1u << 20);
    }
}

static void test_through_jansson(void **state)
{
    struct coder *c = *state;
    value_of(c, "{a = {1, 2.5, 'x', true}, b = {}}");
    json_t *v = json_from_lua(c->L, -1, &c->err);
    assert_non_null(v);
    json_to_lua(c->L, v);
    json_decref(v);
    assert_int_equal(lua_gettop(c->L), 2);
    lua_remove(c->L, 1);
    assert_int_equal(encode_top(c), 0);
    assert_string_equal(buf_cstr(&c->out) + 2, "{\"a\":[1,2.5,\"x\",true],\"b\":{}}");
    value_of(c, "{a = function() end}");
    assert_null(json_from_lua(c->L, -1, &c->err));
    lua_settop(c->L, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_scalars, setup, teardown),
        cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_numbers_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tables, setup, teardown),
        cmocka_unit_test_setup_teardown(test_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_buffer_cap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_through_jansson, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
