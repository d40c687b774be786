// Failures on a virtual clock: what they do to a device, and that it is well again afterwards.
#include "rule_helper.h"

#define SENSOR3 "{" HEAD ",\"telemetry\":[" RAMP("t") "]}"

static void inject(struct world *w, const char *kind, const char *params, int64_t duration_us)
{
    struct error err = {0};
    json_t *v = params ? json_loads(params, 0, NULL) : NULL;
    if (device_fail_inject(w->d, kind, v, duration_us, &err))
        fail_msg("%s: %s", kind, err.text);
    json_decref(v); // the failure holds on to what it needs
}

static void refuse(struct world *w, const char *kind, const char *params, const char *says)
{
    struct error err = {0};
    json_t *v = params ? json_loads(params, 0, NULL) : NULL;
    if (device_fail_inject(w->d, kind, v, 0, &err) == 0)
        fail_msg("%s %s was taken", kind, params ? params : "");
    if (!strstr(err.text, says))
        fail_msg("%s: \"%s\" lacks \"%s\"", kind, err.text, says);
    json_decref(v);
    assert_null(w->d->failures);
}

static uint64_t failures_of(struct world *w, const char *kind)
{
    char tags[80];
    snprintf(tags, sizeof(tags), "group:g,kind:%s", kind);
    return count_of(w, "failures", tags);
}

static void disconnects(void **state)
{
    (void)state;
    static const struct {
        const char *params;
        enum adapter_close how;
    } modes[] = {{NULL, ADAPTER_GRACEFUL},
                 {"{\"mode\":\"clean\"}", ADAPTER_GRACEFUL},
                 {"{\"mode\":\"abrupt\"}", ADAPTER_ABRUPT}};
    struct world w;
    world_open(&w, SENSOR3, NULL);
    int64_t now = 0;
    for (int i = 0; i < 3; i++) {
        run_until(w.loop, now += 2 * SECOND);
        assert_int_equal(w.d->conn_state, CONN_CONNECTED);
        inject(&w, "disconnect", modes[i].params, 5 * SECOND);
        assert_int_equal(fake.conns->how, modes[i].how);
        run_until(w.loop, now += 4900000);
        assert_int_equal(w.d->conn_state, CONN_DISCONNECTED);
        assert_int_equal(w.d->state, DEVICE_RUNNING);
        struct error err;
        assert_int_equal(device_connect(w.d, &err), -1); // the network is gone for a script too
        assert_non_null(strstr(err.text, "its failure disconnect goes on"));
        run_until(w.loop, now += 200000);
        assert_int_equal(w.d->conn_state, CONN_CONNECTED);
        assert_null(w.d->failures);
    }
    assert_int_equal(failures_of(&w, "disconnect"), 3);
    inject(&w, "disconnect", NULL, 0); // stays
    run_until(w.loop, now += 500 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_DISCONNECTED);
    struct error err = {0};
    assert_int_equal(device_heal(w.d, "disconect", &err), -1);
    assert_non_null(strstr(err.text, "did you mean \"disconnect\"?"));
    assert_int_equal(device_heal(w.d, "slow", &err), 0); // nothing to end
    assert_int_equal(device_heal(w.d, NULL, &err), 0);
    run_until(w.loop, now += SECOND);
    assert_int_equal(w.d->conn_state, CONN_CONNECTED);
    world_close(&w);
}

static void half_open(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, SENSOR3, NULL);
    run_until(w.loop, 3 * SECOND);
    unsigned before = w.n_said;
    inject(&w, "disconnect", "{\"mode\":\"halfOpen\"}", 5 * SECOND);
    assert_true(fake.conns->frozen);
    struct adapter_message m = {.topic = "x", .topic_len = 1, .qos = 1};
    struct error err;
    assert_int_equal(device_publish(w.d, &m, 0, &err), 0);  // goes nowhere, without a word
    assert_int_equal(device_publish(w.d, &m, 5, &err), -1); // who waits for an answer is told
    run_until(w.loop, 7900000);
    assert_int_equal(w.n_said, before);
    assert_int_equal(w.d->conn_state, CONN_CONNECTED); // as far as it knows
    run_until(w.loop, 11 * SECOND);
    assert_false(fake.conns->frozen);
    assert_true(w.n_said > before);
    inject(&w, "disconnect", "{\"mode\":\"halfOpen\"}", 0);
    inject(&w, "disconnect", "{\"mode\":\"clean\"}", 5 * SECOND); // replaces it
    assert_false(fake.conns->frozen);
    run_until(w.loop, 12 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_DISCONNECTED);
    json_t *v = json_loads("{\"mode\":\"halfOpen\"}", 0, NULL);
    assert_int_equal(device_fail_inject(w.d, "disconnect", v, 0, &err), -1);
    assert_non_null(strstr(err.text, "not there"));
    json_decref(v);
    device_stop(w.d, ADAPTER_GRACEFUL);
    loop_turn(w.loop, 0);
    assert_null(w.d->failures);
    world_close(&w);
}

static void broken_payloads(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, SENSOR3, NULL);
    unsigned empty = 0, cut = 0, types = 0, garbage = 0;
    inject(&w, "errorPayload", NULL, 0);
    run_until(w.loop, 100 * SECOND);
    for (unsigned i = 0; i < w.n_said; i++) {
        json_t *v = json_loads(w.said[i].payload, 0, NULL);
        if (v && json_is_string(json_object_get(v, "t")) && json_is_string(json_object_get(v, "timestamp")))
            types++;
        else if (v)
            fail_msg("not broken: %s", w.said[i].payload);
        else if (!w.said[i].payload_len)
            empty++;
        else if (w.said[i].payload[0] == '{')
            cut++;
        else
            garbage++;
        json_decref(v);
    }
    assert_true(empty > 10 && cut > 10 && types > 10 && garbage > 10);
    struct error err;
    assert_int_equal(device_heal(w.d, NULL, &err), 0);
    run_until(w.loop, 102 * SECOND);
    assert_non_null(strstr(w.said[w.n_said - 1].payload, "\"t\":"));
    inject(&w, "errorPayload", "{\"mode\":\"empty\"}", 0);
    run_until(w.loop, 104 * SECOND);
    assert_int_equal(w.said[w.n_said - 1].payload_len, 0);
    struct adapter_message m = {.topic = "x", .topic_len = 1, .payload = (const uint8_t *)"whole", .payload_len = 5};
    assert_int_equal(device_publish(w.d, &m, 0, &err), 0); // what a script publishes is its own business
    assert_string_equal(w.said[w.n_said - 1].payload, "whole");
    world_close(&w);
}

static void seeds(void **state)
{
    (void)state;
    char first[20][64];
    for (int run = 0; run < 2; run++) {
        struct world w;
        world_open(&w, SENSOR3, NULL);
        inject(&w, "errorPayload", NULL, 0);
        run_until(w.loop, 21 * SECOND);
        for (int i = 0; i < 20; i++) {
            if (run)
                assert_memory_equal(first[i], w.said[i].payload, sizeof(first[i]));
            memcpy(first[i], w.said[i].payload, sizeof(first[i]));
        }
        world_close(&w);
    }
}

static void slow(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, SENSOR3, NULL);
    run_until(w.loop, 3 * SECOND);
    unsigned before = w.n_said;
    inject(&w, "slow", "{\"delayMs\":2500}", 10 * SECOND);
    struct adapter_message m = {.topic = "x", .topic_len = 1, .payload = (const uint8_t *)"p", .payload_len = 1};
    struct error err;
    assert_int_equal(device_publish(w.d, &m, 0, &err), 0);
    run_until(w.loop, 5400000);
    assert_int_equal(w.n_said, before);
    run_until(w.loop, 5600000);
    assert_int_equal(w.n_said, before + 1);
    assert_in_range(w.said[before].at_us, 5500000, 5501000);
    assert_string_equal(w.said[before].payload, "p");
    run_until(w.loop, 13100000); // over: what waits goes out
    unsigned t = 0;
    for (unsigned i = 0; i < w.n_said; i++) {
        char want[20];
        snprintf(want, sizeof(want), "{\"t\":%u,", t);
        if (!strcmp(w.said[i].topic, "g/g-1/telemetry") && (t++, strncmp(w.said[i].payload, want, strlen(want))))
            fail_msg("out of order: %s, not %s", w.said[i].payload, want);
    }
    assert_int_equal(t, 13);
    inject(&w, "slow", "{\"delayMs\":100000000}", 0);
    for (int i = 0; i < FAILURE_MAX_DELAYED; i++)
        assert_int_equal(device_publish(w.d, &m, 0, &err), 0);
    assert_int_equal(device_publish(w.d, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    run_until(w.loop, 20 * SECOND); // its streams go on, into nothing
    assert_int_equal(w.d->state, DEVICE_RUNNING);
    world_close(&w);
}

static void slow_bytes(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, SENSOR3, NULL);
    inject(&w, "slow", NULL, 0);
    uint8_t *big = calloc(1, 400000);
    struct adapter_message m = {.topic = "x", .topic_len = 1, .payload = big, .payload_len = 400000};
    struct error err;
    assert_int_equal(device_publish(w.d, &m, 0, &err), 0);
    assert_int_equal(device_publish(w.d, &m, 0, &err), 0);
    assert_int_equal(device_publish(w.d, &m, 0, &err), -1);
    assert_true(failures_footprint(w.d) > 800000);
    free(big);
    world_close(&w);
}

static int64_t timestamp_of(const struct said *s)
{
    const char *at = strstr(s->payload, "\"timestamp\":");
    assert_non_null(at);
    return strtoll(at + 12, NULL, 10) - (1700000000000 + s->at_us / 1000);
}

static void clocks(void **state)
{
    (void)state;
    struct world w;
    world_open(&w,
               "{" HEAD ",\"telemetry\":[" RAMP("t") "],\"behaviors\":[" RULE(
                   "s", "\"type\":\"schedule\",\"schedule\":\"0 * * * * *\"", SAY("a/s", "\"x\"")) "]}",
               NULL);
    run_until(w.loop, 3 * SECOND);
    assert_int_equal(timestamp_of(&w.said[0]), 0);
    // 22:13:23 becomes 22:13:53; from then on 1 % fast
    inject(&w, "clockDrift", "{\"offsetMs\":30000,\"ppm\":10000}", 100 * SECOND);
    run_until(w.loop, 9 * SECOND);
    assert_int_equal(said_on(&w, "a/s", NULL), 0);
    run_until(w.loop, 10 * SECOND);
    assert_int_equal(said_on(&w, "a/s", NULL), 1); // 22:14 by its clock
    run_until(w.loop, 53 * SECOND);
    assert_in_range(timestamp_of(&w.said[w.n_said - 1]), 30470, 30501);
    run_until(w.loop, 105 * SECOND);
    assert_int_equal(timestamp_of(&w.said[w.n_said - 1]), 0);
    world_close(&w);
}

static double last_t(const struct world *w)
{
    json_t *v = json_loads(w->said[w->n_said - 1].payload, 0, NULL);
    double t = json_number_value(json_object_get(v, "t"));
    json_decref(v);
    return t;
}

static void batteries(void **state)
{
    (void)state;
    struct world w;
    world_open(&w,
               "{" HEAD ",\"telemetry\":[" NUMBER("t", 80) "],\"behaviors\":[" RULE(
                   "low", WHEN("t < 50"),
                   "\"type\":\"log\",\"message\":\"low: ${t}\"") "," RULE("boot", "\"type\":\"startup\"",
                                                                          SAY("a/boot", "\"x\"")) "]}",
               NULL);
    run_until(w.loop, 3 * SECOND);
    assert_int_equal((int)last_t(&w), 80);
    inject(&w, "batteryDrain", "{\"attribute\":\"t\",\"perSecond\":4,\"rebootMs\":5000}", 0);
    run_until(w.loop, 13 * SECOND);
    assert_in_range((int)last_t(&w), 40, 44);
    assert_non_null(strstr(w.logged, "low: 4"));
    run_until(w.loop, 22900000);
    assert_int_equal(w.d->conn_state, CONN_CONNECTED);
    run_until(w.loop, 23100000); // 80 / 4 s: empty
    assert_int_equal(w.d->conn_state, CONN_DISCONNECTED);
    assert_int_equal(fake.conns->how, ADAPTER_ABRUPT);
    struct error err;
    assert_int_equal(device_connect(w.d, &err), -1);
    unsigned before = w.n_said;
    run_until(w.loop, 27900000);
    assert_int_equal(w.n_said, before);
    run_until(w.loop, 30 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_CONNECTED);
    assert_int_equal((int)last_t(&w), 80);
    assert_int_equal(said_on(&w, "a/boot", NULL), 2);
    inject(&w, "batteryDrain", "{\"attribute\":\"t\",\"perSecond\":1,\"from\":2}", 10 * SECOND);
    run_until(w.loop, 33 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_DISCONNECTED);
    run_until(w.loop, 42 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_CONNECTED);
    assert_int_equal((int)last_t(&w), 80);
    inject(&w, "batteryDrain", "{\"attribute\":\"t\",\"perSecond\":1,\"from\":2}", 0);
    run_until(w.loop, 1000 * SECOND); // without either it stays off
    assert_int_equal(w.d->conn_state, CONN_DISCONNECTED);
    world_close(&w);
}

static void reboots(void **state)
{
    (void)state;
    struct world w;
    world_open(&w,
               "{" HEAD ",\"telemetry\":[" RAMP("t") "],\"behaviors\":[" RULE(
                   "a", ON("failure:reboot"),
                   "\"type\":\"log\",\"message\":\"down\"") "," RULE("b", ON("recovered:reboot"),
                                                                     "\"type\":\"log\",\"message\":\"up "
                                                                     "again\"") "," RULE("c", ON("fix"),
                                                                                         "\"type\":"
                                                                                         "\"setState\","
                                                                                         "\"state\":{"
                                                                                         "\"t\":77}") "]"
                                                                                                      "}",
               NULL);
    run_until(w.loop, 5 * SECOND);
    rules_event(w.d, "fix", NULL);
    run_until(w.loop, 6 * SECOND);
    assert_int_equal((int)last_t(&w), 77);
    inject(&w, "reboot", "{\"bootMs\":3000,\"sequence\":[\"one\",{\"two\":2}]}", 0);
    assert_non_null(strstr(w.logged, "down"));
    assert_int_equal(fake.conns->how, ADAPTER_ABRUPT);
    run_until(w.loop, 8900000);
    assert_int_equal(w.d->conn_state, CONN_DISCONNECTED);
    unsigned before = w.n_said;
    run_until(w.loop, 10500000);
    assert_string_equal(w.said[before].topic, "g/g-1/boot");
    assert_string_equal(w.said[before].payload, "one");
    assert_string_equal(w.said[before + 1].payload, "{\"two\":2}");
    assert_string_equal(w.said[before + 2].topic, "g/g-1/telemetry");
    assert_non_null(strstr(w.said[before + 2].payload, "\"t\":0,")); // from the beginning
    assert_non_null(strstr(w.logged, "up again"));
    assert_null(w.d->failures);
    assert_int_equal(w.d->state, DEVICE_RUNNING);
    // healed while it boots: it boots at once
    inject(&w, "reboot", NULL, 0);
    loop_turn(w.loop, 0);
    struct error err;
    assert_int_equal(device_heal(w.d, NULL, &err), 0);
    run_until(w.loop, 11 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_CONNECTED);
    // from a rule that fires inside a tick, whose stream the boot replaces
    world_close(&w);
    world_open(&w,
               "{" HEAD ",\"telemetry\":[" RAMP("t") "],\"behaviors\":[" RULE(
                   "r", WHEN("t >= 3"), "\"type\":\"fail\",\"failure\":\"reboot\",\"params\":{\"bootMs\":0}") "]}",
               NULL);
    run_until(w.loop, 20 * SECOND);
    assert_true(failures_of(&w, "reboot") >= 4);
    assert_int_equal(w.d->state, DEVICE_RUNNING);
    world_close(&w);
}

static void password_of(const struct world *w, char *out, size_t size)
{
    struct buf b;
    buf_create(&b, 1000);
    assert_int_equal(fake.conns->identity->field(w->d, FIELD_PASSWORD, &b, NULL), 0);
    snprintf(out, size, "%s", buf_cstr(&b));
    buf_destroy(&b);
}

static void stale_tokens(void **state)
{
    (void)state;
    struct world w;
    struct group_config gc = fake_group_config("g", 1, NULL);
    char password[100];
    gc.username = "u";
    gc.password = "secret-${index}";
    world_open(&w, SENSOR3, &gc);
    password_of(&w, password, sizeof(password));
    assert_string_equal(password, "secret-1");
    fake.auto_online = false;
    inject(&w, "staleToken", NULL, 5 * SECOND);
    loop_turn(w.loop, 0);
    loop_turn(w.loop, 0);
    assert_int_equal(fake.conns->state, FAKE_CONNECTING);
    password_of(&w, password, sizeof(password));
    assert_int_equal(strncmp(password, "stale-", 6), 0);
    fake_offline(fake.conns, ERR_REFUSED, false); // an adapter that does not try again
    run_until(w.loop, 3 * SECOND);
    assert_int_equal(w.d->state, DEVICE_RUNNING);
    fake.auto_online = true;
    run_until(w.loop, 6 * SECOND);
    assert_int_equal(w.d->conn_state, CONN_CONNECTED);
    password_of(&w, password, sizeof(password));
    assert_string_equal(password, "secret-1");
    inject(&w, "staleToken", "{\"token\":\"expired\"}", 0);
    password_of(&w, password, sizeof(password));
    assert_string_equal(password, "expired");
    loop_turn(w.loop, 0);
    loop_turn(w.loop, 0);
    fake_offline(fake.conns, ERR_REFUSED, false); // for good: nobody will mend it
    assert_int_equal(w.d->state, DEVICE_ERROR);
    world_close(&w);
    world_open(&w, SENSOR3, NULL);
    refuse(&w, "staleToken", NULL, "group g logs in without a password");
    world_close(&w);
}

static void duplicates(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, SENSOR3, NULL);
    run_until(w.loop, 2 * SECOND);
    struct adapter_conn *own = fake.conns;
    inject(&w, "duplicateId", NULL, 5 * SECOND);
    assert_int_equal(fake.n_conns, 2);
    struct adapter_conn *rival = fake.conns;
    struct buf id[2];
    for (int i = 0; i < 2; i++) {
        struct adapter_conn *c = i ? rival : own;
        buf_create(&id[i], 1000);
        assert_int_equal(c->identity->field(c->owner, FIELD_CLIENT_ID, &id[i], NULL), 0);
        assert_int_equal(c->identity->field(c->owner, FIELD_WILL_TOPIC, &id[i], NULL), 0);
    }
    assert_string_equal(buf_cstr(&id[0]), buf_cstr(&id[1]));
    buf_destroy(&id[0]);
    buf_destroy(&id[1]);
    run_until(w.loop, 3 * SECOND);
    assert_int_equal(rival->state, FAKE_ON);
    fake_offline(own, ERR_CLOSED, true); // the broker lets the newer one live
    fake_online(own, false);
    fake_offline(rival, ERR_CLOSED, true);
    fake_message(own, "x");
    fake_message(rival, "x");
    run_until(w.loop, 8 * SECOND);
    assert_int_equal(fake.n_conns, 1);
    assert_int_equal(failures_of(&w, "duplicateId"), 1);
    fake.refuse_new = true;
    refuse(&w, "duplicateId", NULL, "no memory for a connection");
    fake.refuse_new = false;
    inject(&w, "duplicateId", NULL, 0);
    world_close(&w); // the rival goes with the device
}

static void bad_parameters(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, SENSOR3, NULL);
    refuse(&w, "slwo", NULL, "unknown failure \"slwo\"; valid: disconnect, errorPayload, slow");
    refuse(&w, "slow", "{\"delay\":5}", "slow: unknown parameter \"delay\"; valid: delayMs; did you mean \"delayMs\"?");
    refuse(&w, "slow", "{\"delayMs\":0}", "slow: delayMs: must be 1 to");
    refuse(&w, "slow", "{\"delayMs\":\"1s\"}", "slow: delayMs");
    refuse(&w, "slow", "[1]", "params: expected an object");
    refuse(&w, "disconnect", "{\"mode\":\"rude\"}", "unknown mode \"rude\"; valid: clean, abrupt, halfOpen");
    refuse(&w, "errorPayload", "{\"mode\":\"clean\"}", "valid: any, truncated, types, empty, garbage");
    refuse(&w, "clockDrift", NULL, "needs \"offsetMs\" or \"ppm\"");
    refuse(&w, "clockDrift", "{\"ppm\":1e7}", "ppm: must be");
    refuse(&w, "batteryDrain", NULL, "\"attribute\" is missing");
    refuse(&w, "batteryDrain", "{\"attribute\":\"x\"}", "unknown attribute \"x\"; valid: t");
    refuse(&w, "batteryDrain", "{\"attribute\":\"t\"}", "perSecond: must be more than 0");
    refuse(&w, "batteryDrain", "{\"attribute\":\"t\",\"perSecond\":1,\"from\":-1}", "from: must be at least 0");
    refuse(&w, "reboot", "{\"sequence\":5}", "sequence: expected a list");
    refuse(&w, "reboot", "{\"bootMs\":-1}", "bootMs: must be 0 to");
    refuse(&w, "staleToken", "{\"token\":5}", "staleToken: token");
    refuse(&w, "duplicateId", "{\"x\":1}", "unknown parameter \"x\"; valid: none");
    struct error err;
    assert_int_equal(device_fail_inject(w.d, "slow", NULL, -1, &err), -1);
    device_stop(w.d, ADAPTER_ABRUPT);
    assert_int_equal(device_fail_inject(w.d, "slow", NULL, 0, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    world_close(&w);
}

// Anything at any time, in any order: nothing leaks, dangles or hangs, and healed and connected it is well.
static void random_lives(void **state)
{
    (void)state;
    static const char *const kinds[][2] = {
        {"disconnect", "{\"mode\":\"clean\"}"},
        {"disconnect", "{\"mode\":\"abrupt\"}"},
        {"disconnect", "{\"mode\":\"halfOpen\"}"},
        {"errorPayload", "{}"},
        {"slow", "{\"delayMs\":700}"},
        {"clockDrift", "{\"ppm\":5000}"},
        {"batteryDrain", "{\"attribute\":\"t\",\"perSecond\":30,\"from\":50}"},
        {"batteryDrain", "{\"attribute\":\"t\",\"perSecond\":30,\"from\":50,\"rebootMs\":400}"},
        {"reboot", "{\"bootMs\":300,\"sequence\":[\"x\"]}"},
        {"staleToken", "{}"},
        {"duplicateId", "{}"},
    };
    struct rng r;
    rng_seed(&r, 11);
    for (int life = 0; life < 60; life++) {
        struct world w;
        struct group_config gc = fake_group_config("g", 1, NULL);
        gc.username = gc.password = "p";
        world_open(&w,
                   "{" HEAD ",\"telemetry\":[" RAMP("t") "],\"behaviors\":[" RULE(
                       "r", ON("recovered:reboot"),
                       "\"type\":\"fail\",\"failure\":\"slow\",\"duration\":300") "," RULE("d", WHEN("t % 7 == 5"),
                                                                                           "\"type\":\"disconnect\","
                                                                                           "\"duration\":100") "]}",
                   &gc);
        fake.on_publish = NULL;
        int64_t now = 0;
        struct error err;
        for (int step = 0; step < 150; step++) {
            const char *const *k = kinds[rng_below(&r, sizeof(kinds) / sizeof(kinds[0]))];
            json_t *v = json_loads(k[1], 0, NULL);
            struct adapter_conn *own = w.d->conn;
            switch (rng_below(&r, 9)) {
            case 0:
            case 1:
            case 2:
                (void)(device_fail_inject(w.d, k[0], v, (int64_t)rng_below(&r, 2) * 900000, &err) < 0);
                break;
            case 3:
                device_heal(w.d, rng_below(&r, 2) ? k[0] : NULL, &err);
                break;
            case 4:
                if (own && own->state == FAKE_ON && !own->closing)
                    fake_offline(own, ERR_CLOSED, rng_below(&r, 2));
                break;
            case 5:
                if (own && own->state == FAKE_RETRYING && !own->closing)
                    fake_online(own, false);
                break;
            case 6:
                (void)(device_connect(w.d, &err) < 0);
                break;
            case 7:
                if (rng_below(&r, 6) == 0)
                    (void)(device_restart(w.d, &err) < 0);
                break;
            default:
                run_until(w.loop, now += (int64_t)rng_below(&r, 1500000));
            }
            json_decref(v);
            for (struct failure *f = w.d->failures; f; f = NULL)
                assert_true(w.d->state == DEVICE_STARTING || w.d->state == DEVICE_RUNNING);
        }
        device_heal(w.d, NULL, &err);
        assert_null(w.d->failures && device_failing(w.d, FAILURE_STALE_TOKEN) ? w.d->failures : NULL);
        if (life % 3 == 0)
            device_stop(w.d, ADAPTER_GRACEFUL);
        assert_int_equal(device_restart(w.d, &err), 0);
        run_until(w.loop, now += 3 * SECOND);
        assert_int_equal(w.d->conn_state, CONN_CONNECTED);
        if (life % 2)
            fleet_stop(w.fleet, now + SECOND);
        run_until(w.loop, now + 2 * SECOND);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disconnects),  cmocka_unit_test(half_open),  cmocka_unit_test(broken_payloads),
        cmocka_unit_test(seeds),        cmocka_unit_test(slow),       cmocka_unit_test(slow_bytes),
        cmocka_unit_test(clocks),       cmocka_unit_test(batteries),  cmocka_unit_test(reboots),
        cmocka_unit_test(stale_tokens), cmocka_unit_test(duplicates), cmocka_unit_test(bad_parameters),
        cmocka_unit_test(random_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
