// Expressions over named values: conditions of behaviours, correlated generators. A language of its own, compiled once
// to a few bytes of code; evaluating allocates nothing, cannot loop and cannot fail.
//
//   or || / and && / not ! / == != < <= > >= / + - / * / % / unary - / ^ (right) / ( ) / calls
//   numbers (12, 0.5, 1e3), "texts" and 'texts', true, false, null, names, and the functions
//   abs min max floor ceil round sqrt exp log sin cos clamp(x, low, high)
//
// null in arithmetic gives null; null compared with anything but null by == is false; a condition that is null is
// false. != is always what == is not. Numbers and texts do not compare (false, != true); booleans count as 1 and 0 in
// arithmetic and against numbers; texts compare by their bytes. Division by zero and what is not finite give null. %
// has the sign of the divisor. and, or, not give booleans. Comparisons do not chain. A numeral of a string attribute
// counts as a number; bytes and JSON can only be told from null.
//
// A name hides a function of its own name unless a parenthesis follows.
#pragma once
#include <stdbool.h>
#include "core/error.h"
#include "telemetry/value.h"

#define EXPR_MAX_TEXT 4096u
#define EXPR_MAX_DEPTH 64u // of nesting, and of the evaluation stack

struct expr;

// names: what may stand in the text, by position; at most 65,535. NULL: err says "line:column: what is wrong", naming
// the valid names where one is unknown (with a suggestion).
struct expr *expr_compile(const char *text, const char *const *names, unsigned n_names, struct error *err);
void expr_delete(struct expr *e);
// Whether the expression mentions name i.
bool expr_uses(const struct expr *e, unsigned i);
// values by position of the names. Texts of the result belong to the values or to the expression.
void expr_eval(const struct expr *e, const struct value *values, struct value *out);
// A condition: a true boolean, a number other than 0. Everything else is false.
bool expr_true(const struct expr *e, const struct value *values);
