// The words of the command line.
#pragma once
#include "cli/option.h"

#define ARGS_WORDS_MAX 256

struct args {
    enum command command;
    const char *word;                  // the first positional argument, NULL: none
    const char *words[ARGS_WORDS_MAX]; // all of them
    unsigned n_words;
    char **rest; // behind "--": the scenario's
    unsigned n_rest;
};

// Fills command and words, and sets the options in LAYER_FLAG. Unknown flags and commands come with the nearest
// suggestion; a flag that the command does not have is an error too.
int args_parse(int argc, char **argv, struct options *o, struct args *out, struct error *err) WARN_UNUSED_RESULT;
