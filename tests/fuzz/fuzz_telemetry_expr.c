// Any text as an expression: refused with line and column, or it evaluates to something finite, with any values.
// Input: byte 0 seeds the values, the rest is the text.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "telemetry/expr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"a", "b", "temperature", "mode"};
    static const struct value kinds[] = {
        {.type = VALUE_NULL},
        {.type = VALUE_NUMBER, .number = 1e300},
        {.type = VALUE_INTEGER, .integer = INT64_MIN},
        {.type = VALUE_BOOLEAN, .boolean = true},
        {.type = VALUE_STRING, .str = {"heat", 4}},
        {.type = VALUE_STRING, .str = {NULL, 0}},
        {.type = VALUE_BINARY, .str = {"\0", 1}},
        {.type = VALUE_NUMERAL, .number = -0.5},
    };
    if (!size)
        return 0;
    char *text = malloc(size);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    struct value values[4], v;
    for (unsigned i = 0; i < 4; i++)
        values[i] = kinds[(data[0] >> 2 * i) % 8];
    struct error err = {0};
    struct expr *e = expr_compile(text, names, 4, &err);
    if (!e && (!err.text[0] || err.code == ERR_NONE || err.code == ERR_INTERNAL))
        abort();
    if (e) {
        expr_eval(e, values, &v);
        if (v.type == VALUE_NUMBER && !isfinite(v.number))
            abort();
        expr_true(e, values);
    }
    expr_delete(e);
    free(text);
    return 0;
}
