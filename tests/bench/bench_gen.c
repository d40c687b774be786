// What a value of each generator costs, in nanoseconds: the best of five rounds, so that another program's turn does
// not count. Prints a table; no test asserts a time.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "telemetry/gen.h"

enum { ROUNDS = 5, VALUES = 200000, MAX_STATES = 64 };

static const struct {
    const char *name, *text;
    enum value_type type;
} cases[] = {
    {"constant", "{\"type\":\"constant\",\"value\":1}", VALUE_NUMBER},
    {"uniform", "{\"type\":\"uniform\",\"min\":18,\"max\":24}", VALUE_NUMBER},
    {"uniform, integer", "{\"type\":\"uniform\",\"min\":18,\"max\":24}", VALUE_INTEGER},
    {"normal", "{\"type\":\"normal\",\"mean\":45,\"stddev\":8}", VALUE_NUMBER},
    {"exponential", "{\"type\":\"exponential\",\"mean\":4}", VALUE_NUMBER},
    {"lognormal", "{\"type\":\"lognormal\",\"mu\":1,\"sigma\":0.5}", VALUE_NUMBER},
    {"poisson, mean 3", "{\"type\":\"poisson\",\"mean\":3}", VALUE_NUMBER},
    {"poisson, mean 300", "{\"type\":\"poisson\",\"mean\":300}", VALUE_NUMBER},
    {"weibull", "{\"type\":\"weibull\",\"shape\":2,\"scale\":7}", VALUE_NUMBER},
    {"walk", "{\"type\":\"walk\",\"step\":0.2,\"min\":15,\"max\":30}", VALUE_NUMBER},
    {"ou", "{\"type\":\"ou\",\"mean\":21,\"reversion\":0.05,\"volatility\":0.15}", VALUE_NUMBER},
    {"sine", "{\"type\":\"sine\",\"amplitude\":5,\"periodMs\":60000}", VALUE_NUMBER},
    {"sine with noise", "{\"type\":\"sine\",\"amplitude\":5,\"periodMs\":60000,\"noise\":1}", VALUE_NUMBER},
    {"seasonal", "{\"type\":\"seasonal\",\"base\":400,\"daily\":{\"amplitude\":250}}", VALUE_NUMBER},
    {"square", "{\"type\":\"square\",\"low\":0,\"high\":1,\"periodMs\":1000}", VALUE_NUMBER},
    {"saw", "{\"type\":\"saw\",\"min\":0,\"max\":360,\"periodMs\":3000}", VALUE_NUMBER},
    {"step", "{\"type\":\"step\",\"values\":[1,2,3],\"holdMs\":1000}", VALUE_NUMBER},
    {"sequence", "{\"type\":\"sequence\",\"max\":1000,\"wrap\":true}", VALUE_NUMBER},
    {"sequence of values", "{\"type\":\"sequence\",\"values\":[3,1,2]}", VALUE_NUMBER},
    {"choice", "{\"type\":\"choice\",\"values\":[1,2,3,4]}", VALUE_NUMBER},
    {"choice, weights", "{\"type\":\"choice\",\"values\":[1,2,3,4],\"weights\":[4,3,2,1]}", VALUE_NUMBER},
    {"markov", "{\"type\":\"markov\",\"states\":[0,1],\"transitions\":[[0.9,0.1],[0.5,0.5]]}", VALUE_NUMBER},
    {"correlated", "{\"type\":\"correlated\",\"expression\":\"20 + 0.5 * t\"}", VALUE_NUMBER},
    {"gps", "{\"type\":\"gps\",\"route\":[[52.52,13.405],[52.51,13.377],[52.5,13.37]],\"speedKmh\":40}", VALUE_JSON},
    {"object of 3",
     "{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"uniform\",\"min\":0,\"max\":1},\"y\":{\"type\":"
     "\"uniform\",\"min\":0,\"max\":1},\"z\":{\"type\":\"uniform\",\"min\":0,\"max\":1}}}",
     VALUE_JSON},
    {"array of 10", "{\"type\":\"array\",\"length\":10,\"items\":{\"type\":\"uniform\",\"min\":0,\"max\":1}}",
     VALUE_JSON},
    {"uniform + 1 anomaly",
     "{\"type\":\"uniform\",\"min\":0,\"max\":1,\"anomalies\":[{\"type\":\"spike\",\"magnitude\":9,"
     "\"probability\":0.001}]}",
     VALUE_NUMBER},
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double measure(const struct gen_spec *spec)
{
    struct gen_state states[MAX_STATES];
    struct scratch scratch;
    struct value t = {.type = VALUE_NUMBER, .number = 21}, v;
    struct gen_context context = {.index = 1, .values = &t, .scratch = &scratch};
    struct rng rng;
    double best = 1e18;
    scratch_create(&scratch, 1 << 20);
    rng_seed(&rng, 1);
    gen_init(spec, states, &rng, &context);
    for (int round = 0; round < ROUNDS; round++) {
        double begin_ns = now_ns();
        for (int i = 0; i < VALUES; i++) {
            context.time_us += 1000000;
            context.wall_us += 1000000;
            scratch_clear(&scratch);
            gen_next(spec, states, &rng, &context, &v);
        }
        double each_ns = (now_ns() - begin_ns) / VALUES;
        best = each_ns < best ? each_ns : best;
    }
    scratch_destroy(&scratch);
    return best;
}

int main(void)
{
    static const char *const names[] = {"t"};
    struct gen_env env = {.names = names, .n_names = 1};
    printf("%-22s %8s %6s\n", "generator", "ns/value", "bytes");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err;
        json_t *object = json_loads(cases[i].text, 0, NULL);
        struct gen_spec *spec = gen_parse(object, cases[i].type, &env, &err);
        json_decref(object);
        if (!spec || gen_state_count(spec) > MAX_STATES) {
            fprintf(stderr, "%s: %s\n", cases[i].name, spec ? "too many states" : err.text);
            return EXIT_FAILURE;
        }
        printf("%-22s %8.1f %6zu\n", cases[i].name, measure(spec), gen_state_count(spec) * sizeof(struct gen_state));
        gen_delete(spec);
    }
    return EXIT_SUCCESS;
}
