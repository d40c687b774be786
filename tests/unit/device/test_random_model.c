// Everything that a model brings (behaviors, failures, commands, handlers, children, Sparkplug), in random order with
// all that can be done to a running group, from outside and from inside every callback. After each step the books must
// agree; under AddressSanitizer any use after free ends the test.
#include "device/change.h"
#include "device/command.h"
#include "device/failure.h"
#include "device/gateway.h"
#include "device/internal.h"
#include "device/proxy.h"
#include "device/rule.h"
#include "fake.h"

#define SECOND 1000000
enum { GROUPS = 6, TAPS = 64, DEVICES = 6, STEPS = 6000, NUMBERS = 64 };

#define TEXT(name, value)                                                                                              \
    "{\"name\":\"" name "\",\"type\":\"string\",\"generator\":{\"type\":\"constant\",\"value\":\"" value "\"}}"
#define TELEMETRY                                                                                                      \
    "\"telemetry\":[{\"name\":\"t\",\"type\":\"number\",\"intervalMs\":300,\"generator\":{\"type\":\"walk\","          \
    "\"start\":5,\"step\":2,\"min\":0,\"max\":10}}," TEXT("a", "apple") "," TEXT("b", "bread")
#define CUSTOM ",{\"name\":\"h\",\"type\":\"number\",\"generator\":{\"type\":\"custom\",\"handler\":\"h\"}}"
#define COMMANDS                                                                                                       \
    "\"commands\":[{\"name\":\"set\",\"parameters\":[{\"name\":\"to\",\"type\":\"string\"}]},"                         \
    "{\"name\":\"go\",\"handler\":\"go\",\"timeoutMs\":400},{\"name\":\"off\"},{\"name\":\"boot\"}"
#define RULE(name, trigger, action) "{\"name\":\"" name "\",\"trigger\":{" trigger "},\"action\":{" action "}}"
#define ON(event) "\"type\":\"event\",\"event\":\"" event "\""
#define FAIL(kind, params, ms) "\"type\":\"fail\",\"failure\":\"" kind "\",\"params\":{" params "},\"duration\":" #ms
#define RULES                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                  \
    "\"behaviors\":[" RULE("swap", ON("command:set"), "\"type\":\"setState\",\"state\":{\"a\":\"${b}\",\"b\":\"was ${a} at ${t}\"}") "," RULE(                                                                                                                                                                                                                                                                                                                                                                                                                                                                                 \
        "keep", ON("behavior:swap"), "\"type\":\"setState\",\"state\":{\"a\":\"kept ${b}\"}") "," RULE("off",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                  \
                                                                                                       ON("command:"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                           \
                                                                                                          "off"),                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                              \
                                                                                                       "\"type\":"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                                       "\"disconnect"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                          \
                                                                                                       "\","                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                   \
                                                                                                       "\"duration\":"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                         \
                                                                                                       "400") "," RULE("boot",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                 \
                                                                                                                       ON("command:"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                           \
                                                                                                                          "boot"),                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                                                       FAIL(                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                   \
                                                                                                                           "reboot",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                           \
                                                                                                                           "\"bootMs"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                          \
                                                                                                                           "\":200,"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                           \
                                                                                                                           "\"sequenc"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                         \
                                                                                                                           "e\":["                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             \
                                                                                                                           "\"on\",{"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                          \
                                                                                                                           "\"a\":1}"                                                                                                                                                                                                                                                                                                                                                                                                                                                                                          \
                                                                                                                           "]",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                \
                                                                                                                           0)) "," RULE("half",                                                                                                                                                                                                                                                                                                                                                                                                                                                                                \
                                                                                                                                        ON("behavior:keep"),                                                                                                                                                                                                                                                                                                                                                                                                                                                                   \
                                                                                                                                        FAIL("disconnect",                                                                                                                                                                                                                                                                                                                                                                                                                                                                     \
                                                                                                                                             "\"mode\":\"halfOpen\"", 300)) "," RULE("hot",                                                                                                                                                                                                                                                                                                                                                                                                                                    \
                                                                                                                                                                                     "\"type\":\"condition\",\"condition\":\"t > 8\"", FAIL("slow", "\"delayMs\":100", 500)) "," RULE("cold", "\"type\":\"condition\",\"condition\":\"t < 2\",\"forMs\":200,\"cooldownMs\":500", "\"type\":\"disconnect\",\"duration\":100") "," RULE("new",                                                                                                                                                                                   \
                                                                                                                                                                                                                                                                                                                                                                                                                                      "\"type\":\"startup\"", "\"type\":\"publish\",\"topic\":\"hello\"") "," RULE("lost",                                                                                                     \
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                   ON("disconnect"),                                                                                           \
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                   "\"type\":\"reconnect\"") "," RULE("well",                                                                  \
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                      ON("recovered:slow"), FAIL("reboot", "\"bootMs\":0", 0)) "," RULE("say", \
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                        ON("stateChanged"), "\"type\":\"publish\",\"topic\":\"x\",\"payload\":{\"a\":\"${a}\"}") "," RULE("call", ON("connect"), "\"type\":\"custom\",\"handler\":\"c\"") "]"
#define HEAD(id, type) "{\"id\":\"" id "\",\"name\":\"M\",\"type\":\"" type "\",\"protocol\":\"mqtt\","
#define FULL HEAD("full", "sensor") TELEMETRY CUSTOM "]," COMMANDS "]," RULES "}"
#define FAR ",{\"name\":\"far\",\"topic\":\"far/${deviceId}\"}"
#define OTHER                                                                                                          \
    HEAD("other", "sensor")                                                                                            \
    "\"telemetry\":[" TEXT(                                                                                            \
        "b",                                                                                                           \
        "butter") ",{\"name\":\"new\",\"type\":\"integer\",\"intervalMs\":200,"                                        \
                  "\"generator\":{\"type\":\"sequence\"}},{\"name\":\"t\",\"type\":\"number\",\"generator\":{"         \
                  "\"type\":"                                                                                          \
                  "\"uniform\",\"min\":0,\"max\":10}}]," COMMANDS                                                      \
                  ",{\"name\":\"far\",\"topic\":\"far/${deviceId}\"}],"                                                \
                  "\"behaviors\":[" RULE(                                                                              \
                      "hot", "\"type\":\"condition\",\"condition\":\"t > 5\"",                                         \
                      FAIL("batteryDrain", "\"attribute\":\"new\",\"perSecond\":200,\"rebootMs\":100", 2000)) "]}"
#define EMPTY HEAD("empty", "sensor") COMMANDS "]}"
#define CHILD HEAD("child", "sensor") TELEMETRY "]," COMMANDS FAR "]," RULES "}"
#define GATEWAY(more)                                                                                                  \
    HEAD("gw", "gateway")                                                                                              \
    "\"telemetry\":[" TEXT("a", "x") "]," COMMANDS "],\"children\":[{\"model\":" CHILD ",\"count\":3}]" more "}"
#define SPARK HEAD("spark", "sensor") "\"encoding\":\"sparkplug\"," TELEMETRY "]," RULES_OF_SPARK "}"
#define RULES_OF_SPARK                                                                                                 \
    "\"behaviors\":[" RULE("off", "\"type\":\"condition\",\"condition\":\"t > 8\"",                                    \
                           "\"type\":\"disconnect\",\"duration\":300") "]"

static const char *const group_names[GROUPS] = {"rules", "lua", "gw", "batch", "spark", "proxy"};
#define PROXY                                                                                                          \
    HEAD("probe", "proxy")                                                                                             \
    "\"proxy\":{\"topic\":\"plant/p-${index}/#\",\"commands\":\"plant/p-${index}/cmd\"}}"
static const char *const group_models[GROUPS] = {
    FULL, FULL, GATEWAY(""), GATEWAY(",\"aggregation\":{\"mode\":\"batch\",\"intervalMs\":500}"), SPARK, PROXY};

struct storm {
    struct rng rng;
    struct fleet *fleet;
    unsigned depth;          // of acts inside callbacks
    unsigned made, freed;    // what devices' behaviour pointers hold
    unsigned asked, answers; // changes
    unsigned commands, failures, swaps;
    struct { // subscriptions of proxies
        proxy_message_fn *fn;
        void *ctx;
    } taps[TAPS];
    struct { // of commands
        slot_id device;
        uint32_t number;
    } numbers[NUMBERS];
};

static void act(struct storm *s, struct device *d);

static unsigned below(struct storm *s, unsigned n)
{
    return (unsigned)rng_below(&s->rng, n);
}

// A device of a random group, or a child of one; NULL: it was removed.
static struct device *any_device(struct storm *s)
{
    struct group *g = fleet_group(s->fleet, below(s, GROUPS));
    struct device *d = g->owned ? g->devices[rng_below(&s->rng, g->owned)] : NULL;
    if (!d || !gateway_children(d) || below(s, 3) == 0)
        return d;
    return gateway_child(d, 1 + below(s, gateway_children(d)));
}

static void maybe_act(struct storm *s, struct device *d)
{
    if (s->depth >= 3 || below(s, 4))
        return;
    s->depth++;
    act(s, d);
    s->depth--;
}

// --- changes ------------------------------------------------------------------------------------------------------

static void changed(void *arg, const json_t *answer, const struct error *err)
{
    struct storm *s = arg;
    assert_true((answer != NULL) != (err != NULL));
    s->answers++;
}

static json_t *another_model(struct storm *s, unsigned g)
{
    static const char *const models[] = {FULL, OTHER, EMPTY};
    s->swaps++;
    return json_pack("{s:s, s:s}", "op", "model", "text", g < 2 ? models[below(s, 3)] : group_models[g]);
}

static void change(struct storm *s)
{
    json_t *c = NULL;
    unsigned g = below(s, GROUPS);
    switch (below(s, 9)) {
    case 0:
        c = json_pack("{s:s, s:i}", "op", "scale", "count", 2 + (int)below(s, 2 * DEVICES));
        break;
    case 1:
        c = json_pack("{s:s, s:i}", "op", "restart", "count", 1 + (int)below(s, DEVICES));
        break;
    case 2:
        c = json_pack("{s:s, s:i}", "op", "start", "percentage", 1 + (int)below(s, 100));
        break;
    case 3:
    case 4:
        c = json_pack("{s:s, s:{s:i, s:b, s:i, s:s, s:i}}", "op", "dropout", "dropout", "percentage",
                      1 + (int)below(s, 100), "reconnect", (int)below(s, 2), "reconnect_delay", (int)below(s, SECOND),
                      "strategy", "random", "duration", (int)below(s, SECOND));
        break;
    case 5:
        c = json_pack("{s:s}", "op", "renew");
        break;
    case 6:
        c = json_pack("{s:s, s:i}", "op", "remove", "count", 1 + (int)below(s, 2));
        break;
    default:
        c = another_model(s, g);
        break;
    }
    json_object_set_new(c, "group", json_string(group_names[g]));
    json_object_set_new(c, "at_us", json_integer(loop_now_us(fake.loop)));
    json_object_set_new(c, "number", json_integer((json_int_t)s->asked));
    s->asked += fleet_change(s->fleet, c, changed, s, NULL) == 0;
    json_decref(c);
}

// --- what devices ask for -----------------------------------------------------------------------------------------

static void make(struct storm *s, struct device *d)
{
    if (d->behaviour)
        return;
    d->behaviour = malloc(1); // a leak or a double free if it is not stopped or released once
    s->made++;
}

static void unmake(struct storm *s, struct device *d)
{
    assert_non_null(d->behaviour);
    free(d->behaviour);
    d->behaviour = NULL;
    s->freed++;
}

static int op_start(void *arg, struct device *d, struct error *err)
{
    struct storm *s = arg;
    assert_null(d->behaviour);
    make(s, d);
    if (below(s, 2))
        (void)!device_telemetry(d, true, NULL);
    if (below(s, 4))
        (void)!device_connect(d, NULL);
    if (!below(s, 20)) {
        unmake(s, d);
        return error_set(err, ERR_INVALID, "no");
    }
    return 0;
}

static void op_stop(void *arg, struct device *d)
{
    unmake(arg, d);
    maybe_act(arg, d);
}

static void op_release(void *arg, struct device *d)
{
    unmake(arg, d);
}

static void op_online(void *arg, struct device *d, bool session_present)
{
    (void)session_present;
    assert_non_null(d->behaviour);
    maybe_act(arg, d);
}

static void op_offline(void *arg, struct device *d, const struct error *why, bool will_retry)
{
    (void)why, (void)will_retry;
    assert_non_null(d->behaviour);
    maybe_act(arg, d);
}

static void op_message(void *arg, struct device *d, const struct adapter_message *m)
{
    (void)m;
    maybe_act(arg, d);
}

static void op_done(void *arg, struct device *d, uint32_t token, int granted_qos, const struct error *err)
{
    (void)token, (void)granted_qos, (void)err;
    maybe_act(arg, d);
}

static bool runs(const struct device *d)
{
    return d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING;
}

static void assert_runs(const struct device *d)
{
    assert_true(runs(d));
}

static int op_generate(void *arg, struct device *d, int hook, const json_t *params, const struct gen_context *context,
                       struct value *out, struct error *err)
{
    struct storm *s = arg;
    (void)params, (void)context, (void)err;
    assert_runs(d);
    assert_true((unsigned)hook < d->group->config.model->n_hooks);
    make(s, d);
    *out = (struct value){.type = VALUE_NUMBER, .number = 1};
    maybe_act(s, d);
    return 0;
}

static int op_command(void *arg, struct device *d, int hook, const struct device_command *c, struct error *err)
{
    struct storm *s = arg;
    assert_runs(d);
    assert_true(hook < (int)d->group->config.model->n_hooks);
    if (!below(s, 5))
        return error_set(err, hook < 0 ? ERR_NOT_FOUND : ERR_LIMIT, "no");
    make(s, d);
    unsigned i = below(s, NUMBERS);
    s->numbers[i].device = d->id;
    s->numbers[i].number = c->number;
    maybe_act(s, d);
    if (below(s, 2))
        device_answer(d, c->number, NULL, below(s, 2) ? "broken" : NULL);
    return 0;
}

static void op_cancel(void *arg, struct device *d, uint32_t command)
{
    (void)command;
    maybe_act(arg, d);
}

static int op_custom(void *arg, struct device *d, int hook, const json_t *params, const json_t *what, struct error *err)
{
    (void)params, (void)what, (void)err;
    assert_runs(d);
    assert_true((unsigned)hook < d->group->config.model->n_hooks);
    make(arg, d);
    maybe_act(arg, d);
    return 0;
}

static int op_resolve(void *arg, struct group *group, const struct model *model, struct error *err)
{
    struct storm *s = arg;
    (void)group, (void)model;
    return below(s, 20) ? 0 : error_set(err, ERR_NOT_FOUND, "no such handler");
}

static const struct device_ops storm_ops = {.start = op_start,
                                            .stop = op_stop,
                                            .online = op_online,
                                            .offline = op_offline,
                                            .message = op_message,
                                            .done = op_done,
                                            .hook_generate = op_generate,
                                            .hook_command = op_command,
                                            .hook_custom = op_custom,
                                            .hook_cancel = op_cancel,
                                            .hook_resolve = op_resolve,
                                            .release = op_release};

static void on_error(void *arg, struct device *d, const char *text, bool fail_run)
{
    (void)text, (void)fail_run;
    maybe_act(arg, d);
}

// --- acts ---------------------------------------------------------------------------------------------------------

static void fail_device(struct storm *s, struct device *d)
{
    static const char *const what[][2] = {{"disconnect", "{}"},
                                          {"disconnect", "{\"mode\":\"abrupt\"}"},
                                          {"disconnect", "{\"mode\":\"halfOpen\"}"},
                                          {"errorPayload", "{}"},
                                          {"slow", "{\"delayMs\":150}"},
                                          {"clockDrift", "{\"offsetMs\":-5000,\"ppm\":100}"},
                                          {"batteryDrain", "{\"attribute\":\"t\",\"perSecond\":5,\"rebootMs\":100}"},
                                          {"batteryDrain", "{\"attribute\":\"t\",\"perSecond\":50,\"from\":10}"},
                                          {"reboot", "{\"bootMs\":100,\"sequence\":[\"up\"]}"},
                                          {"staleToken", "{}"},
                                          {"duplicateId", "{}"}};
    unsigned i = below(s, sizeof(what) / sizeof(what[0]));
    json_t *params = json_loads(what[i][1], 0, NULL);
    s->failures += !device_fail_inject(d, what[i][0], params, (int64_t)below(s, 2) * below(s, SECOND), NULL);
    json_decref(params);
}

static void answer_some(struct storm *s)
{
    unsigned i = below(s, NUMBERS);
    struct device *d = fleet_find(s->fleet, s->numbers[i].device);
    if (d)
        device_answer(d, s->numbers[i].number, NULL, NULL);
}

// One thing that a behaviour or a fault may do, to this device or to another.
static void act(struct storm *s, struct device *d)
{
    if (!below(s, 4) && !(d = any_device(s)))
        return;
    enum adapter_close mode = below(s, 2) ? ADAPTER_GRACEFUL : ADAPTER_ABRUPT;
    struct adapter_message m = {.topic = "t", .topic_len = 1, .qos = 1};
    switch (below(s, 24)) {
    case 0:
        device_stop(d, mode);
        break;
    case 1:
        (void)!device_restart(d, NULL);
        break;
    case 2:
    case 3:
        device_disconnect(d, mode);
        break;
    case 4:
    case 5:
    case 6:
        (void)!device_connect(d, NULL);
        break;
    case 7:
        (void)!device_publish(d, &m, device_token(d), NULL);
        break;
    case 8:
        (void)!device_telemetry(d, below(s, 3), NULL);
        break;
    case 9:
        (void)!device_subscribe(d, "t", 0, device_token(d), NULL);
        break;
    case 10:
        if (s->depth || d->state != DEVICE_CREATED)
            device_finished(d, below(s, 2) ? "boom" : NULL);
        break;
    case 11:
        if (!below(s, 4) && !gateway_of(d))
            device_destroy(d);
        break;
    case 12:
        device_renew(d);
        break;
    case 13:
    case 14:
    case 15:
        fail_device(s, d);
        break;
    case 16:
        (void)!device_heal(d, below(s, 2) ? NULL : "reboot", NULL);
        break;
    case 17: {
        json_t *state = json_pack("{s:s, s:o}", "b", "butter", "a", below(s, 2) ? json_null() : json_string("fig"));
        (void)!device_set_state(d, state, NULL);
        json_decref(state);
        break;
    }
    case 18:
        rules_event(d, "disconnect", NULL);
        break;
    case 19:
        if (!d->group->fleet->sampling) // no handler of a generator can
            answer_some(s);
        break;
    case 20:
        assert_true(device_footprint(d) >= sizeof(*d));
        break;
    default:
        change(s);
        break;
    }
}

// --- the world ----------------------------------------------------------------------------------------------------

static void say(struct adapter_conn *c, const char *topic, const char *payload)
{
    struct adapter_message m = {.topic = topic,
                                .topic_len = strlen(topic),
                                .payload = (const uint8_t *)payload,
                                .payload_len = strlen(payload)};
    c->in_event = true;
    c->events->on_message(c->owner, &m);
    c->in_event = false;
}

static void command(struct storm *s, struct adapter_conn *c)
{
    static const char *const payloads[] = {"{\"command\":\"set\",\"params\":{\"to\":\"pear and plum\"},\"id\":1}",
                                           "{\"command\":\"go\",\"id\":{\"a\":[1]}}",
                                           "{\"command\":\"off\"}",
                                           "{\"command\":\"boot\"}",
                                           "{\"command\":\"nope\"}",
                                           "{\"target\":\"gw-1-2\",\"command\":\"off\"}",
                                           "{",
                                           ""};
    static const char *const tails[] = {"/command", "/command", "/command", "/commands/off", "/commands/set"};
    struct device *d = c->owner;
    struct buf topic;
    unsigned n = gateway_children(d);
    if (n && below(s, 3))
        d = gateway_child(d, 1 + below(s, n));
    buf_create(&topic, 4096);
    assert_int_equal(device_base(d, &topic, NULL), 0);
    assert_int_equal(buf_append_str(&topic, tails[below(s, 5)]), 0);
    s->commands++;
    say(c, buf_cstr(&topic), payloads[below(s, sizeof(payloads) / sizeof(payloads[0]))]);
    buf_destroy(&topic);
}

static uint64_t tap(void *arg, const char *url, const char *filter, int qos, proxy_message_fn *fn, void *ctx,
                    struct error *err)
{
    struct storm *s = arg;
    (void)url, (void)filter, (void)qos;
    unsigned i = 0;
    while (i < TAPS && s->taps[i].fn)
        i++;
    if (i == TAPS || !below(s, 20)) {
        error_set(err, ERR_INVALID, "no");
        return 0;
    }
    s->taps[i].fn = fn;
    s->taps[i].ctx = ctx;
    return i + 1;
}

static void untap(void *arg, uint64_t ticket)
{
    struct storm *s = arg;
    assert_non_null(s->taps[ticket - 1].fn);
    s->taps[ticket - 1].fn = NULL;
    s->taps[ticket - 1].ctx = NULL;
}

static int pass_on(void *arg, const char *url, const char *topic, const void *payload, size_t n, int qos,
                   struct error *err)
{
    (void)url, (void)topic, (void)payload, (void)n, (void)qos;
    return below(arg, 3) ? 0 : error_set(err, ERR_STATE, "not connected");
}

static const struct proxy_ops taps = {.subscribe = tap, .unsubscribe = untap, .publish = pass_on};

// What a physical device says.
static void hear(struct storm *s)
{
    unsigned i = below(s, TAPS);
    if (s->taps[i].fn)
        s->taps[i].fn(s->taps[i].ctx, "plant/p-1/t", "21", 2, loop_now_us(fake.loop));
}

static void event(struct storm *s)
{
    hear(s);
    struct adapter_conn *c = fake.conns;
    for (uint64_t n = fake.n_conns ? rng_below(&s->rng, fake.n_conns) : 0; n && c; n--)
        c = c->next;
    if (!c || c->closing)
        return; // its on_offline comes with this turn
    c->pending = below(s, 2);
    if (c->state == FAKE_CONNECTING || c->state == FAKE_RETRYING) {
        if (below(s, 8))
            fake_online(c, below(s, 2));
        else
            fake_offline(c, ERR_REFUSED, below(s, 3));
    } else if (c->state == FAKE_ON && !c->frozen) {
        unsigned what = below(s, 12);
        if (what == 0)
            fake_offline(c, ERR_CLOSED, below(s, 2));
        else if (what < 3)
            fake_done(c, below(s, 5) + 1);
        else if (c->events != &device_events)
            say(c, "t", "");
        else
            command(s, c);
    }
}

static void check_device(const struct device *d, bool settled)
{
    bool rests = d->state == DEVICE_STOPPED || d->state == DEVICE_ERROR || d->state == DEVICE_CREATED;
    if (d->group->config.behaviour)
        assert_int_equal(d->behaviour != NULL, d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING);
    if (settled && rests) {
        assert_null(d->conn);
        assert_null(d->streams);
        assert_null(d->failures);
        assert_null(d->commands);
        assert_null(d->rules);
        assert_null(d->behaviour);
        assert_null(d->proxy);
        assert_int_equal(d->conn_state, CONN_DISCONNECTED);
    }
    if (d->commands)
        assert_true(d->state == DEVICE_STARTING || d->state == DEVICE_RUNNING);
    if (!settled || gateway_of(d))
        return;
    assert_false(d->flags & FLAG_CLOSE_DUE);
    if (d->conn_state == CONN_CONNECTED)
        assert_int_equal(d->conn->state, FAKE_ON);
    if (d->conn_state == CONN_DISCONNECTED && d->conn)
        assert_int_equal(d->conn->state, FAKE_OFF);
    if (d->flags & FLAG_CLOSING)
        assert_true(d->conn->closing);
}

static void check(const struct storm *s, bool settled)
{
    for (unsigned i = 0; i < GROUPS; i++) {
        struct group *g = fleet_group(s->fleet, i);
        uint64_t by_state[DEVICE_STATE_MAX] = {0}, by_conn[CONN_STATE_MAX] = {0}, dropped = 0;
        for (uint64_t k = 0; k < g->owned; k++) {
            struct device *d = g->devices[k];
            if (!d)
                continue;
            assert_ptr_equal(fleet_find(s->fleet, d->id), d);
            dropped += (d->flags & FLAG_DROPPED) != 0;
            by_state[d->state]++;
            by_conn[d->conn_state]++;
            check_device(d, settled);
            for (unsigned n = 1; n <= gateway_children(d); n++) {
                check_device(gateway_child(d, n), settled && !s->fleet->deferred_first);
                if (d->state != DEVICE_STARTING && d->state != DEVICE_RUNNING)
                    assert_false(runs(gateway_child(d, n)));
            }
        }
        assert_int_equal(dropped, g->dropped);
        assert_memory_equal(by_state, g->by_state, sizeof(by_state));
        assert_memory_equal(by_conn, g->by_conn, sizeof(by_conn));
    }
}

static void storm(uint64_t seed)
{
    struct loop *loop = fake_setup();
    struct model *models[GROUPS];
    struct storm s = {0};
    rng_seed(&s.rng, seed);
    struct fleet_config config = fake_fleet_config();
    struct error err = {0};
    config.ops = &storm_ops;
    config.ops_arg = &s;
    config.on_device_error = on_error;
    config.on_device_error_arg = &s;
    config.proxy = &taps;
    config.proxy_arg = &s;
    if (seed % 3 == 0)
        loop_simulate(loop, 0);
    s.fleet = fleet_new(&config, NULL);
    for (unsigned i = 0; i < GROUPS; i++) {
        models[i] = model_of(group_models[i]);
        struct group_config g = fake_group_config(group_names[i], DEVICES, models[i]);
        g.behaviour = i == 1;
        g.secret = i == 2 ? NULL : "secret";
        g.on_error = i == 4 ? ON_ERROR_STOP : ON_ERROR_RESTART;
        g.max_restarts = 1000;
        if (!fleet_add_group(s.fleet, &g, &err))
            fail_msg("%s", err.text);
    }
    fleet_start(s.fleet, 0);
    for (unsigned step = 0; step < STEPS; step++) {
        fake.refuse_open = !below(&s, 20);
        fake.refuse_new = !below(&s, 20);
        fake.bad_topic = !below(&s, 100);
        fake.bad_filter = below(&s, 50) ? NULL : below(&s, 3) ? "far/" : "/";
        struct device *d = any_device(&s);
        if (!below(&s, 3) && d)
            act(&s, d);
        else
            event(&s);
        if (!below(&s, 60)) { // so that there is always somebody left
            json_t *c =
                json_pack("{s:s, s:s, s:i, s:I}", "op", below(&s, 2) ? "scale" : "start", "group",
                          group_names[below(&s, GROUPS)], "count", 2 * DEVICES, "at_us", (json_int_t)loop_now_us(loop));
            s.asked += fleet_change(s.fleet, c, changed, &s, NULL) == 0;
            json_decref(c);
        }
        check(&s, false);
        if (!below(&s, 3)) {
            loop_turn(loop, (int64_t)below(&s, 2) * below(&s, SECOND / 2));
            check(&s, true);
        }
    }
    assert_true(s.commands > 200);
    assert_true(s.failures > 100);
    assert_true(s.swaps > 10);
    assert_true(fake.published > 500);
    fake.refuse_open = fake.refuse_new = fake.bad_topic = false;
    fake.bad_filter = NULL;
    if (seed % 2) { // half of them drain, half are cut off
        int64_t deadline = loop_now_us(loop) + 5 * SECOND;
        fleet_stop(s.fleet, deadline);
        run_until(loop, deadline + 2 * SECOND);
        assert_true(fleet_idle(s.fleet));
        check(&s, true);
        assert_int_equal(fake.n_conns, 0);
    }
    fleet_delete(s.fleet);
    for (unsigned i = 0; i < TAPS; i++)
        assert_null(s.taps[i].fn);
    assert_int_equal(s.made, s.freed);
    assert_int_equal(s.asked, s.answers);
    for (unsigned i = 0; i < GROUPS; i++)
        model_delete(models[i]);
    fake_teardown();
}

static void test_random(void **state)
{
    const char *only = getenv("STORM_SEED");
    (void)state;
    if (only) {
        storm(strtoull(only, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= 6; seed++)
        storm(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
