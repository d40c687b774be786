// Code of an expression: what the compiler (expr_parse.c) makes and the evaluator (expr.c) runs. Not for other files.
#pragma once
#include <stdint.h>
#include "telemetry/expr.h"

enum op {
    OP_NAME,   // push values[arg]
    OP_NUMBER, // push numbers[arg]
    OP_TEXT,   // push texts[arg]
    OP_TRUE,
    OP_FALSE,
    OP_NULL,
    OP_OR,
    OP_AND,
    OP_NOT,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_POW,
    OP_NEGATE,
    OP_MIN,
    OP_MAX,
    OP_ABS,
    OP_FLOOR,
    OP_CEIL,
    OP_ROUND,
    OP_SQRT,
    OP_EXP,
    OP_LOG,
    OP_SIN,
    OP_COS,
    OP_CLAMP,
};

struct code {
    uint16_t op, arg;
};

struct text {
    uint16_t start, length; // within the pool
};

// One allocation: the struct, numbers, texts, code, pool.
struct expr {
    const double *numbers;
    const struct text *texts;
    const struct code *code;
    const char *pool;
    unsigned n_code;
};
