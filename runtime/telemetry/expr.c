// Evaluation: a stack machine whose height the compiler knows, so that it needs no checks, no jumps and no recursion.
#include "telemetry/expr_code.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void expr_delete(struct expr *e)
{
    free(e);
}

bool expr_uses(const struct expr *e, unsigned i)
{
    for (unsigned k = 0; k < e->n_code; k++)
        if (e->code[k].op == OP_NAME && e->code[k].arg == i)
            return true;
    return false;
}

// Results are written over the first operand: values are copied only from the device to the stack.
static void set_null(struct value *v)
{
    v->type = VALUE_NULL;
}

static void set_boolean(struct value *v, bool b)
{
    v->type = VALUE_BOOLEAN;
    v->boolean = b;
}

static void set_number(struct value *v, double x)
{
    v->type = isfinite(x) ? VALUE_NUMBER : VALUE_NULL;
    v->number = x;
}

// On the stack there are no integers and numerals.
static void load(const struct value *v, struct value *out)
{
    switch (v->type) {
    case VALUE_INTEGER:
        set_number(out, (double)v->integer);
        break;
    case VALUE_NUMBER:
    case VALUE_NUMERAL:
        set_number(out, v->number);
        break;
    default:
        *out = *v;
    }
}

static bool as_number(const struct value *v, double *out)
{
    if (v->type == VALUE_NUMBER)
        *out = v->number;
    else if (v->type == VALUE_BOOLEAN)
        *out = v->boolean;
    else
        return false;
    return true;
}

static bool truth(const struct value *v)
{
    double x;
    return as_number(v, &x) && x != 0;
}

// -1, 0, 1; 2: they do not compare.
static int order(const struct value *a, const struct value *b)
{
    double x, y;
    if (as_number(a, &x) && as_number(b, &y))
        return (x > y) - (x < y);
    if (a->type != VALUE_STRING || b->type != VALUE_STRING)
        return 2;
    size_t n = a->str.n < b->str.n ? a->str.n : b->str.n;
    int d = n ? memcmp(a->str.s, b->str.s, n) : 0;
    if (d == 0)
        d = (a->str.n > b->str.n) - (a->str.n < b->str.n);
    return (d > 0) - (d < 0);
}

static void compare(enum op op, struct value *a, const struct value *b)
{
    int o = order(a, b);
    bool equal = o == 0 || (a->type == VALUE_NULL && b->type == VALUE_NULL);
    switch (op) {
    case OP_EQ:
        set_boolean(a, equal);
        break;
    case OP_NE:
        set_boolean(a, !equal);
        break;
    case OP_LT:
        set_boolean(a, o == -1);
        break;
    case OP_LE:
        set_boolean(a, o == -1 || o == 0);
        break;
    case OP_GT:
        set_boolean(a, o == 1);
        break;
    default:
        set_boolean(a, o == 1 || o == 0);
        break;
    }
}

static double modulo(double x, double y)
{
    double r = fmod(x, y);
    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

static void binary(enum op op, struct value *a, const struct value *b)
{
    double x, y;
    if (!as_number(a, &x) || !as_number(b, &y)) {
        set_null(a);
        return;
    }
    switch (op) {
    case OP_ADD:
        set_number(a, x + y);
        break;
    case OP_SUB:
        set_number(a, x - y);
        break;
    case OP_MUL:
        set_number(a, x * y);
        break;
    case OP_DIV:
        set_number(a, y == 0 ? NAN : x / y);
        break;
    case OP_MOD:
        set_number(a, y == 0 ? NAN : modulo(x, y));
        break;
    case OP_POW:
        set_number(a, pow(x, y));
        break;
    case OP_MIN:
        set_number(a, x < y ? x : y);
        break;
    default:
        set_number(a, x > y ? x : y);
        break;
    }
}

static double apply(enum op op, double x)
{
    switch (op) {
    case OP_NEGATE:
        return -x;
    case OP_ABS:
        return fabs(x);
    case OP_FLOOR:
        return floor(x);
    case OP_CEIL:
        return ceil(x);
    case OP_ROUND:
        return round(x);
    case OP_SQRT:
        return sqrt(x);
    case OP_EXP:
        return exp(x);
    case OP_LOG:
        return log(x);
    case OP_SIN:
        return sin(x);
    default:
        return cos(x);
    }
}

static void monadic(enum op op, struct value *a)
{
    double x;
    if (as_number(a, &x))
        set_number(a, apply(op, x));
    else
        set_null(a);
}

static void clamp(struct value *args)
{
    double x, low, high;
    if (as_number(&args[0], &x) && as_number(&args[1], &low) && as_number(&args[2], &high) && low <= high)
        set_number(args, x < low ? low : x > high ? high : x);
    else
        set_null(args);
}

static void run(const struct expr *e, const struct value *values, struct value *stack)
{
    struct value *top = stack; // behind the last
    for (const struct code *c = e->code, *end = c + e->n_code; c < end; c++) {
        enum op op = c->op;
        switch (op) {
        case OP_NAME:
            load(&values[c->arg], top++);
            break;
        case OP_NUMBER:
            set_number(top++, e->numbers[c->arg]);
            break;
        case OP_TEXT:
            top->type = VALUE_STRING;
            top->str.s = e->pool + e->texts[c->arg].start;
            top++->str.n = e->texts[c->arg].length;
            break;
        case OP_TRUE:
        case OP_FALSE:
            set_boolean(top++, op == OP_TRUE);
            break;
        case OP_NULL:
            set_null(top++);
            break;
        case OP_OR:
            top--;
            set_boolean(&top[-1], truth(&top[-1]) || truth(top));
            break;
        case OP_AND:
            top--;
            set_boolean(&top[-1], truth(&top[-1]) && truth(top));
            break;
        case OP_NOT:
            set_boolean(&top[-1], !truth(&top[-1]));
            break;
        case OP_EQ:
        case OP_NE:
        case OP_LT:
        case OP_LE:
        case OP_GT:
        case OP_GE:
            top--;
            compare(op, &top[-1], top);
            break;
        case OP_ADD:
        case OP_SUB:
        case OP_MUL:
        case OP_DIV:
        case OP_MOD:
        case OP_POW:
        case OP_MIN:
        case OP_MAX:
            top--;
            binary(op, &top[-1], top);
            break;
        case OP_CLAMP:
            top -= 2;
            clamp(&top[-1]);
            break;
        default:
            monadic(op, &top[-1]);
            break;
        }
    }
}

void expr_eval(const struct expr *e, const struct value *values, struct value *out)
{
    struct value stack[EXPR_MAX_DEPTH];
    run(e, values, stack);
    *out = stack[0];
}

bool expr_true(const struct expr *e, const struct value *values)
{
    struct value stack[EXPR_MAX_DEPTH];
    run(e, values, stack);
    return truth(stack);
}
