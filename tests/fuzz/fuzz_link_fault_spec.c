// Any JSON as a fault: refused with an error, or a fault whose canonical form is taken again and says the same, and
// which answers every question within its bounds at any time. Input: 8 bytes of seed and first time, then the text.
// Half of the mutations work on the tree of the JSON: bytes changed at random hardly ever stay JSON.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/jsonx.h"
#include "link/fault.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size); // libFuzzer's own

#define HEAD 8u
#define TEXT_MAX 65536u

// --- mutations

static json_t *strange(struct rng *rng)
{
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "null",
                                        "true",
                                        "false",
                                        "0",
                                        "1",
                                        "-1",
                                        "0.5",
                                        "1e300",
                                        "1e-300",
                                        "65535",
                                        "3600",
                                        "\"\"",
                                        "\"5%\"",
                                        "\"200ms\"",
                                        "\"500kbit\"",
                                        "\"kbps\"",
                                        "\"dns\"",
                                        "\"::/0\"",
                                        "\"drop\"",
                                        "\"pareto\"",
                                        "\"down\"",
                                        "\"10.0.0.0/8\"",
                                        "[[0,1,1,1],[1,null,0,0]]",
                                        "\"time,rtt,loss,rate\\n0,1,5%,1kbit\\n2,,,\"",
                                        "{\"ramp\":{\"from\":0,\"to\":1,\"over\":1}}",
                                        "{\"sine\":{\"mean\":0.5,\"amplitude\":0.5,\"period\":1}}",
                                        "{\"rate\":0.1,\"correlation\":0.9}",
                                        "{\"burst\":{\"p\":0.1,\"r\":0.5}}",
                                        "{\"value\":1,\"jitter\":1}",
                                        "{\"on\":1,\"every\":2,\"spread\":true}"};
    const char *text = texts[rng_below(rng, sizeof texts / sizeof texts[0])];
    return json_loadb(text, strlen(text), JSON_DECODE_ANY, NULL);
}

static const char *any_key(struct rng *rng)
{
    static const char *const keys[] = {
        "latency", "rtt",   "loss",    "duplicate", "reorder",     "corrupt", "bandwidth", "mtu",   "partition",
        "reset",   "dns",   "connect", "tls",       "during",      "trace",   "up",        "down",  "halfOpen",
        "hosts",   "ports", "allow",   "protocols", "correlation", "jitter",  "repeat",    "burst", "slowClose"};
    return keys[rng_below(rng, sizeof keys / sizeof keys[0])];
}

// Changes something at a random depth.
static void change(json_t *v, struct rng *rng)
{
    size_t n = json_is_object(v) ? json_object_size(v) : json_array_size(v), pick = n ? rng_below(rng, n) : 0;
    if (json_is_array(v)) {
        json_t *item = json_array_get(v, pick);
        if ((json_is_object(item) || json_is_array(item)) && rng_below(rng, 3))
            change(item, rng);
        else if (n && rng_below(rng, 3) == 0)
            json_array_remove(v, pick);
        else if (n && rng_below(rng, 2))
            json_array_set_new(v, pick, strange(rng));
        else
            json_array_append_new(v, strange(rng));
        return;
    }
    void *at = json_object_iter(v);
    for (; pick; pick--)
        at = json_object_iter_next(v, at);
    json_t *item = at ? json_object_iter_value(at) : NULL;
    if ((json_is_object(item) || json_is_array(item)) && rng_below(rng, 3))
        change(item, rng);
    else if (at && rng_below(rng, 4) == 0)
        json_object_del(v, json_object_iter_key(at));
    else if (at && rng_below(rng, 2))
        json_object_iter_set_new(v, at, strange(rng));
    else
        json_object_set_new(v, any_key(rng), strange(rng));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    struct rng rng;
    rng_seed(&rng, seed);
    json_t *root = seed & 1 && size > HEAD
                       ? json_loadb((const char *)data + HEAD, size - HEAD, JSON_REJECT_DUPLICATES, NULL)
                       : NULL;
    if (!root || max_size <= HEAD) {
        json_decref(root);
        return LLVMFuzzerMutate(data, size, max_size);
    }
    for (uint64_t i = 0, n = 1 + rng_below(&rng, 4); i < n; i++)
        change(root, &rng);
    size_t written = json_dumpb(root, (char *)data + HEAD, max_size - HEAD, JSON_COMPACT);
    json_decref(root);
    return written && written <= max_size - HEAD ? HEAD + written : LLVMFuzzerMutate(data, size, max_size);
}

// --- the target

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_packet(struct fault *f, enum path_direction d, bool stream, int64_t now)
{
    struct fault_damage damage;
    struct fault_bandwidth b;
    bool jumps = false;
    fault_damage(f, d, 40, stream, now, &damage);
    check(!damage.corrupt || (!stream && damage.corrupt_bit < 320));
    check(!damage.duplicate || !stream);
    int64_t us = fault_delay(f, d, now, stream ? NULL : &jumps);
    check(us >= 0 && us <= FAULT_LATENCY_MAX_US && (!jumps || us == 0));
    us = fault_mean_delay(f, d, now);
    check(us >= 0 && us <= FAULT_LATENCY_MAX_US);
    uint32_t mtu = fault_mtu(f, d, now);
    check(!mtu || (mtu >= 68 && mtu <= 65535));
    if (fault_bandwidth(f, d, stream, now, &b))
        check(b.rate >= 1 && b.rate <= 1e12 && b.burst_bytes && (b.queue_bytes != 0) != (b.queue_us != 0));
    if (!fault_acts(f, now))
        check(!damage.drop && !damage.corrupt && !damage.duplicate && !mtu && !us);
}

static void run(struct fault *f, const struct path_peer *peer, int64_t now)
{
    for (int i = 0; i < 24; i++) {
        int64_t us;
        for (int d = 0; d < 2; d++) {
            check_packet(f, d ? PATH_DOWN : PATH_UP, i & 1, now);
            bool cut = fault_cuts(f, d ? PATH_DOWN : PATH_UP, peer, i & 2 ? "dns" : "mqtt", now);
            check(!cut || fault_acts(f, now));
        }
        fault_connect(f, now, &us);
        check(us >= 0 && us <= FAULT_LATENCY_MAX_US);
        fault_lookup(f, now, &us);
        check(us >= 0 && us <= FAULT_LATENCY_MAX_US);
        check(fault_slow_close_us(f, now) >= 0);
        fault_tls_fails(f, now);
        fault_half_open(f, now);
        check(!fault_reset_due(f, now) || fault_acts(f, now));
        int64_t next = fault_next_edge(f, now);
        check(next > now);
        if (next != INT64_MAX)
            check(fault_next_edge(f, next - 1) == next);
        now = next == INT64_MAX ? now + 777777 : i % 3 ? next : next - 1 > now ? next - 1 : next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct path_peer peer = {.protocol = "mqtt", .host = "broker.example"};
    struct error err = {0};
    char words[64];
    uint64_t seed;
    if (size <= HEAD || size > TEXT_MAX)
        return 0;
    memcpy(&seed, data, sizeof seed);
    json_t *v = json_parse((const char *)data + HEAD, size - HEAD, "fuzz", &err);
    if (!v)
        return 0;
    struct fault_spec *s = fault_spec_parse(v, &err);
    json_decref(v);
    if (!s) {
        check(err.code == ERR_INVALID && strncmp(err.text, "fault: ", 7) == 0);
        return 0;
    }
    json_t *first = fault_spec_json(s);
    struct fault_spec *again = fault_spec_parse(first, &err);
    check(again != NULL);
    json_t *second = fault_spec_json(again);
    check(json_equal(first, second));
    json_decref(first);
    json_decref(second);
    check(fault_spec_describe(s, words, sizeof words)[0] != '\0');
    struct fault f;
    int64_t now = (int64_t)(seed >> 24);
    fault_create(&f, s, 1, seed, now);
    run(&f, &peer, now);
    fault_retune(&f, again, now + 5000000);
    run(&f, &peer, now + 5000000);
    fault_destroy(&f);
    fault_spec_release(s);
    fault_spec_release(again);
    return 0;
}
