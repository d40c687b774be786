#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/buf.h"
#include "core/rng.h"
#include "telemetry/expr.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const names[] = {"a", "b", "zero", "on", "off", "nothing", "mode", "cpuUsage", "min", "raw", "code"};
enum { A, B, ZERO, ON, OFF, NOTHING, MODE, CPU, MIN, RAW, CODE };
static const struct value values[COUNT(names)] = {
    [A] = {.type = VALUE_NUMBER, .number = 7},
    [B] = {.type = VALUE_INTEGER, .integer = -2},
    [ZERO] = {.type = VALUE_INTEGER, .integer = 0},
    [ON] = {.type = VALUE_BOOLEAN, .boolean = true},
    [OFF] = {.type = VALUE_BOOLEAN, .boolean = false},
    [NOTHING] = {.type = VALUE_NULL},
    [MODE] = {.type = VALUE_STRING, .str = {"heating!", 7}}, // not NUL-terminated
    [CPU] = {.type = VALUE_NUMBER, .number = 70.5},
    [MIN] = {.type = VALUE_NUMBER, .number = 3},
    [RAW] = {.type = VALUE_BINARY, .str = {"\1\2", 2}},
    [CODE] = {.type = VALUE_NUMERAL, .number = 12},
};

static struct expr *compile_ok(const char *text)
{
    struct error err = {0};
    struct expr *e = expr_compile(text, names, COUNT(names), &err);
    if (!e)
        fail_msg("%s: %s", text, err.text);
    return e;
}

static void show(const struct value *v, char *out, size_t size)
{
    switch (v->type) {
    case VALUE_NULL:
        snprintf(out, size, "null");
        break;
    case VALUE_BOOLEAN:
        snprintf(out, size, "%s", v->boolean ? "true" : "false");
        break;
    case VALUE_NUMBER:
        snprintf(out, size, "%.10g", v->number);
        break;
    case VALUE_STRING:
        snprintf(out, size, "'%.*s'", (int)v->str.n, v->str.s);
        break;
    default:
        snprintf(out, size, "type %d", v->type);
    }
}

static void expect(const char *text, const char *want)
{
    struct expr *e = compile_ok(text);
    struct value v;
    char got[100];
    expr_eval(e, values, &v);
    show(&v, got, sizeof(got));
    if (strcmp(got, want))
        fail_msg("%s: %s, not %s", text, got, want);
    expr_delete(e);
}

static void precedence(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"1 + 2 * 3", "7"},
        {"(1 + 2) * 3", "9"},
        {"10 - 4 - 3", "3"},
        {"100 / 10 / 5", "2"},
        {"7 % 4 * 2", "6"},
        {"2 ^ 3 ^ 2", "512"},
        {"-2 ^ 2", "-4"},
        {"(-2) ^ 2", "4"},
        {"2 ^ -1", "0.5"},
        {"2 * -3", "-6"},
        {"- - 3", "3"},
        {"+3 - -3", "6"},
        {"1 + 2 < 4", "true"},
        {"1 < 2 == true", NULL}, // chains
        {"(1 < 2) == true", "true"},
        {"not 1 == 2", "true"},
        {"! 1 == 2", "true"},
        {"not true or true", "true"},
        {"not (true or true)", "false"},
        {"not not 5", "true"},
        {"true or false and false", "true"},
        {"(true or false) and false", "false"},
        {"true || false && false", "true"},
        {"a > 5 and b < 0 or zero", "true"},
        {"1 - 2 + 3 == 2 and 2 * 3 == 6", "true"},
    };
    for (size_t i = 0; i < COUNT(table); i++)
        if (table[i][1])
            expect(table[i][0], table[i][1]);
    assert_null(expr_compile(table[13][0], names, COUNT(names), NULL));
}

static void values_of_all_kinds(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        // names, literals
        {"a", "7"},
        {"b", "-2"},
        {"code + 1", "13"},
        {"mode", "'heating'"},
        {"raw", "type 5"},
        {"cpuUsage > 70", "true"},
        {"1e3 + 0.5 + .25 + 1.", "1001.75"},
        {"2E-2", "0.02"},
        {"\"a\\\"b\\\\\" == 'a\"b\\\\'", "true"},
        {"'it\\'s\\t\\n'", "'it's\t\n'"},
        {"''", "''"},
        {"\"\xc3\xa4\"", "'\xc3\xa4'"},
        {"a\n+\t1\r\n", "8"},
        // a name of a function's name
        {"min + 1", "4"},
        {"min(min, 2)", "2"},
        // null
        {"null", "null"},
        {"nothing + 1", "null"},
        {"-nothing", "null"},
        {"abs(nothing)", "null"},
        {"min(1, nothing)", "null"},
        {"clamp(nothing, 0, 1)", "null"},
        {"nothing == null", "true"},
        {"nothing != null", "false"},
        {"a == null", "false"},
        {"a != null", "true"},
        {"raw != null", "true"},
        {"raw == raw", "false"},
        {"nothing < 1", "false"},
        {"nothing >= nothing", "false"},
        {"nothing == 0", "false"},
        {"nothing == false", "false"},
        {"nothing == ''", "false"},
        {"nothing and true", "false"},
        {"nothing or true", "true"},
        {"not nothing", "true"},
        // numbers and texts
        {"mode == 'heating'", "true"},
        {"mode == \"heatin\"", "false"},
        {"mode != 'cooling'", "true"},
        {"mode > 'a' and mode < 'z'", "true"},
        {"'a' < 'ab'", "true"},
        {"'ab' <= 'a'", "false"},
        {"'' < 'a'", "true"},
        {"1 == '1'", "false"},
        {"1 != '1'", "true"},
        {"1 < '2'", "false"},
        {"1 >= '0'", "false"},
        {"'a' + 1", "null"},
        {"not 'text'", "true"}, // a text is no condition
        // booleans
        {"on + on", "2"},
        {"on == 1", "true"},
        {"on > off", "true"},
        {"on == true", "true"},
        {"off == zero", "true"},
        {"-on", "-1"},
        // what is not finite
        {"1 / 0", "null"},
        {"a / zero", "null"},
        {"a % zero", "null"},
        {"a / off", "null"},
        {"sqrt(-1)", "null"},
        {"log(0)", "null"},
        {"log(-1)", "null"},
        {"exp(1000)", "null"},
        {"10 ^ 400", "null"},
        {"(-8) ^ 0.5", "null"},
        {"1e308 * 10", "null"},
        // functions
        {"abs(b)", "2"},
        {"min(3, 1, 2)", "1"},
        {"max(3, 1, 2, 9, -4)", "9"},
        {"floor(-1.5)", "-2"},
        {"ceil(-1.5)", "-1"},
        {"round(2.5)", "3"},
        {"round(-2.5)", "-3"},
        {"sqrt(16)", "4"},
        {"exp(0)", "1"},
        {"log(exp(2))", "2"},
        {"round(sin(1.5707963267948966) + cos(0))", "2"},
        {"clamp(12, 0, 10)", "10"},
        {"clamp(-1, 0, 10)", "0"},
        {"clamp(5, 0, 10)", "5"},
        {"clamp(5, 10, 0)", "null"},
        {"max(abs(b), min(a, 3)) * 2", "6"},
        // % has the sign of the divisor
        {"-7 % 3", "2"},
        {"7 % -3", "-2"},
        {"-6 % 3 == 0", "true"},
        {"5.5 % 2", "1.5"},
    };
    for (size_t i = 0; i < COUNT(table); i++)
        expect(table[i][0], table[i][1]);
}

static void conditions(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool want;
    } table[] = {{"a", true},     {"zero", false}, {"b", true},    {"on", true},   {"off", false}, {"nothing", false},
                 {"mode", false}, {"raw", false},  {"code", true}, {"1/0", false}, {"0.0", false}, {"-0.0", false}};
    for (size_t i = 0; i < COUNT(table); i++) {
        struct expr *e = compile_ok(table[i].text);
        if (expr_true(e, values) != table[i].want)
            fail_msg("%s", table[i].text);
        expr_delete(e);
    }
    struct value odd = {.type = VALUE_NUMBER, .number = NAN};
    const char *const x[] = {"x"};
    struct expr *e = expr_compile("x", x, 1, NULL);
    assert_false(expr_true(e, &odd));
    odd.number = INFINITY;
    assert_false(expr_true(e, &odd));
    expr_delete(e);
    e = compile_ok("a > 5 and cpuUsage < 3 or min(1, 2)");
    assert_true(expr_uses(e, A) && expr_uses(e, CPU));
    assert_false(expr_uses(e, MIN) || expr_uses(e, B) || expr_uses(e, 1000));
    expr_delete(e);
    expr_delete(NULL);
}

static void errors(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"", "1:1: empty: expected an expression such as \"temperature > 30\""},
        {"  \n ", "1:1: empty"},
        {"a >", "1:4: the expression ends here: expected a number, a text or a name"},
        {"a > 1 and\n  cpuUsgae < 3", "2:3: unknown name \"cpuUsgae\", did you mean \"cpuUsage\"?; valid here: a, b,"},
        {"True", "did you mean \"true\"?"},
        {"a = 1", "1:3: \"=\" is not an operator: write \"==\""},
        {"a === 1", "1:3: \"===\" is not an operator: write \"==\""},
        {"a ~= 1", "write \"!=\""},
        {"a <> 1", "1:3: \"<>\" is not an operator: write \"!=\""},
        {"a ** 2", "write \"^\""},
        {"a // 2", "write \"/\""},
        {"a & b", "write \"and\""},
        {"a | b", "write \"or\""},
        {"a AND b", "1:3: unexpected \"AND\": expected an operator, did you mean \"and\"?"},
        {"a b", "1:3: unexpected \"b\": expected an operator"},
        {"a 1", "1:3: unexpected \"1\": expected an operator or the end"},
        {"and a", "1:1: unexpected \"and\": expected a value before it"},
        {"a or or b", "1:6: unexpected \"or\""},
        {"a * / b", "1:5: unexpected \"/\": expected a number"},
        {"1 < a < 3", "1:7: comparisons do not chain: write \"a < b and b < c\""},
        {"a == b == 1", "1:8: comparisons do not chain"},
        {"(a", "1:3: the expression ends here: expected \")\" to close the parenthesis"},
        {"(a 1)", "1:4: unexpected \"1\": expected \")\""},
        {"a)", "1:2: this \")\" closes nothing"},
        {"()", "1:2: unexpected \")\""},
        {"sqrt", "1:1: sqrt is a function: expected \"(\" behind it"},
        {"sqrt(", "1:6: the expression ends here"},
        {"sqrt()", "1:1: sqrt takes 1 argument"},
        {"sqrt(1, 2)", "1:1: sqrt takes 1 argument"},
        {"sqrt(1 2)", "1:8: unexpected \"2\": expected \",\" or \")\" behind an argument"},
        {"clamp(1, 2)", "clamp takes 3 arguments: clamp(x, low, high)"},
        {"min(1)", "min takes at least 2 arguments"},
        {"min(1,)", "1:7: unexpected \")\""},
        {"sqr(2)", "1:1: unknown function \"sqr\", did you mean \"sqrt\"?; valid here: abs, min,"},
        {"a(2)", "unknown function \"a\""},
        {"os.execute('x')", "1:3: unexpected \".\""},
        {"execute('x')", "1:1: unknown function \"execute\""},
        {"a.b", "1:2: unexpected \".\": an expression has no fields"},
        {"a[1]", "1:2: unexpected \"[\": an expression has no fields"},
        {"'abc", "1:1: the text that begins here has no end: a ' is missing"},
        {"\"abc'", "a \" is missing"},
        {"'abc\\'", "has no end"},
        {"'a\\x41'", "1:3: \"\\x\" is not an escape: valid are"},
        {"12abc", "1:3: \"12a\" is not a number"},
        {"0x10", "is not a number"},
        {"1.2.3", "1:4: \"1.2.\" is not a number"},
        {"1e999", "1:1: 1e999 is too large"},
        {"'\xc3\xa4\xc3\xb6' == $", "1:9: unexpected \"$\""}, // characters, not bytes
        {"a > \xff", "1:5: unexpected byte 0xff"},
        {"a \xe2\x89\xa5 b", "unexpected \"\xe2\x89\xa5\""},
        {"a\x01", "unexpected byte 0x01"},
        {"${a} > 1", "1:1: unexpected \"$\""},
        {"a ? b : 1", "1:3: unexpected \"?\""},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        struct error err = {0};
        if (expr_compile(table[i][0], names, COUNT(names), &err))
            fail_msg("%s was taken", table[i][0]);
        if (!strstr(err.text, table[i][1]))
            fail_msg("%s: \"%s\" lacks \"%s\"", table[i][0], err.text, table[i][1]);
        assert_int_equal(err.code, ERR_INVALID);
        assert_null(expr_compile(table[i][0], names, COUNT(names), NULL));
    }
    struct error err;
    assert_null(expr_compile("x", NULL, 0, &err));
    assert_string_equal(err.text, "1:1: unknown name \"x\"; valid here: none");
}

static void repeat(struct buf *b, const char *text, unsigned n)
{
    while (n--)
        assert_int_equal(buf_append_str(b, text), 0);
}

static void expect_limit(struct buf *b, const char *says)
{
    struct error err = {0};
    assert_null(expr_compile(buf_cstr(b), names, COUNT(names), &err));
    assert_int_equal(err.code, ERR_LIMIT);
    if (!strstr(err.text, says))
        fail_msg("%s", err.text);
    buf_clear(b);
}

static void caps(void **state)
{
    (void)state;
    struct buf b;
    buf_create(&b, 1 << 16);
    static const char *const nested[][2] = {{"(", ")"}, {"-", ""},     {"not ", ""},
                                            {"2^", ""}, {"abs(", ")"}, {"1+(", ")"}};
    for (size_t i = 0; i < COUNT(nested); i++) {
        for (unsigned depth = EXPR_MAX_DEPTH - 1; depth <= 400; depth += 337) {
            repeat(&b, nested[i][0], depth);
            repeat(&b, "1", 1);
            repeat(&b, nested[i][1], depth);
            if (depth < EXPR_MAX_DEPTH)
                expr_delete(compile_ok(buf_cstr(&b)));
            else
                expect_limit(&b, "nested more than 64 deep");
            buf_clear(&b);
        }
    }
    repeat(&b, "min(1,", 63); // each keeps one value waiting
    repeat(&b, "1", 1);
    repeat(&b, ")", 63);
    expr_delete(compile_ok(buf_cstr(&b)));
    buf_clear(&b);
    repeat(&b, "clamp(1,2,", 40); // each keeps two
    repeat(&b, "1", 1);
    repeat(&b, ")", 40);
    expect_limit(&b, "too complex: more than 64 values wait");
    repeat(&b, "1+", EXPR_MAX_TEXT / 2 - 1); // long, but flat
    repeat(&b, "11", 1);
    assert_int_equal(b.len, EXPR_MAX_TEXT);
    struct expr *e = compile_ok(buf_cstr(&b));
    struct value v;
    expr_eval(e, values, &v);
    assert_int_equal((int)v.number, EXPR_MAX_TEXT / 2 - 1 + 11);
    expr_delete(e);
    repeat(&b, "1", 1);
    expect_limit(&b, "at most 4096 characters");
    repeat(&b, "1", 70);
    expect_limit(&b, "a number of more than 63 characters");
    const char *const many[] = {"x"};
    struct error err;
    assert_null(expr_compile("x", many, 70000, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_destroy(&b);
}

// A random expression into b, and its value by doubles. `level`: how tightly what stands around it binds, so that only
// the needed parentheses are written.
static double random_expr(struct rng *r, struct buf *b, int level, int depth)
{
    static const struct {
        const char *text;
        int level;
    } ops[] = {{"+", 1}, {"-", 1}, {"*", 2}, {"/", 2}};
    if (depth == 0 || rng_below(r, 5) == 0) {
        double x = (double)rng_below(r, 2000) / 8 + 1;
        assert_int_equal(buf_printf(b, "%.17g", x), 0);
        return x;
    }
    size_t op = rng_below(r, COUNT(ops));
    bool parenthesis = ops[op].level < level;
    assert_int_equal(buf_append_str(b, parenthesis ? "(" : ""), 0);
    double x = random_expr(r, b, ops[op].level, depth - 1);
    assert_int_equal(buf_printf(b, " %s ", ops[op].text), 0);
    double y = random_expr(r, b, ops[op].level + 1, depth - 1); // to the left
    assert_int_equal(buf_append_str(b, parenthesis ? ")" : ""), 0);
    return op == 0 ? x + y : op == 1 ? x - y : op == 2 ? x * y : y == 0 ? NAN : x / y; // NAN: null from there on
}

static void random_arithmetic(void **state)
{
    (void)state;
    struct rng r;
    struct buf b;
    rng_seed(&r, 6);
    buf_create(&b, 1 << 16);
    for (int i = 0; i < 20000; i++) {
        buf_clear(&b);
        double want = random_expr(&r, &b, 0, 6);
        if (b.len > EXPR_MAX_TEXT)
            continue;
        struct expr *e = compile_ok(buf_cstr(&b));
        struct value v;
        expr_eval(e, NULL, &v);
        if (isfinite(want) ? v.type != VALUE_NUMBER || v.number != want : v.type != VALUE_NULL)
            fail_msg("%s: %.17g, not %.17g", buf_cstr(&b), v.number, want);
        expr_delete(e);
    }
    buf_destroy(&b);
}

static void any_text(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a",    "cpuUsage", "mode", "1",  "2.5", "'x'",  "(",  ")",   "+",    "-",
                                         "*",    "/",        "^",    "<",  "==",  "and",  "or", "not", "min(", ",",
                                         "null", "!",        "\"",   "\\", "\n",  "\xc3", ".",  "e5"};
    struct rng r;
    rng_seed(&r, 7);
    unsigned taken = 0;
    for (int i = 0; i < 300000; i++) {
        char text[100];
        size_t n = 0;
        for (uint64_t k = 1 + rng_below(&r, 8); k > 0; k--)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n ? " " : "",
                                  pieces[rng_below(&r, COUNT(pieces))]);
        struct error err = {0};
        struct expr *e = expr_compile(text, names, COUNT(names), &err);
        struct value v;
        if (e) {
            expr_eval(e, values, &v);
            assert_true(v.type != VALUE_NUMBER || isfinite(v.number));
            taken++;
        } else {
            assert_true(err.text[0] >= '1' && err.text[0] <= '9' && strchr(err.text, ':'));
        }
        expr_delete(e);
    }
    assert_true(taken > 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(precedence), cmocka_unit_test(values_of_all_kinds),
        cmocka_unit_test(conditions), cmocka_unit_test(errors),
        cmocka_unit_test(caps),       cmocka_unit_test(random_arithmetic),
        cmocka_unit_test(any_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
