// A walk over the whole library with random arguments: 100,000 calls of every function and method that an author can
// reach, from devices that get random answers, messages and losses, beside healthy ones. Nothing crashes or leaks (run
// it under ASan), nobody is held up. IOTIX_WALK=SEED:CALLS repeats or lengthens one.
#include "stage.h"

#define HEALTHY 10

static const char walk_text[] =
    "local iotix = require 'iotix'\n"
    "local p = iotix.params { SEED = { type = 'integer', default = 1 }, CALLS = { type = 'integer', default = 100000 } "
    "}\n"
    "local shared, calls = {}, 0\n"
    "local functions = {}\n"
    // What the library offers cannot be walked through its read-only view: the names are those of the annotations.
    "local library = { 'group', 'scenario', 'env', 'params', 'mqtt', 'http', 'coap', 'connection', 'sleep', 'spawn', "
    "'now', 'elapsed', 'log', "
    "'abort',\n"
    "  'expect', gen = { 'uniform', 'normal', 'exponential', 'walk', 'sequence', 'constant', 'choice' }, json = { "
    "'encode', 'decode' } }\n"
    "for _, name in ipairs(library) do functions[#functions + 1] = iotix[name] end\n"
    "for _, name in ipairs(library.gen) do functions[#functions + 1] = iotix.gen[name] end\n"
    "for _, name in ipairs(library.json) do functions[#functions + 1] = iotix.json[name] end\n"
    "functions[#functions + 1] = iotix.expect.message\n"
    "local methods = { 'connect', 'disconnect', 'publish', 'subscribe', 'unsubscribe', 'on', 'every', 'sleep', 'wait', "
    "'log',\n"
    "  'telemetry', 'topic', 'request', 'get', 'post', 'delete', 'fetch', 'observe', 'serve', 'notify', 'served_at', "
    "'open' "
    "}\n"
    "local conn_methods = { 'publish', 'subscribe', 'unsubscribe', 'on', 'wait', 'request', 'get', 'put', 'observe', "
    "'serve', 'notify', 'served_at', 'close', 'cancel', 'active', 'json' }\n"
    "local places = { iotix.connection { url = 'side://one' }, iotix.http { url = 'http://two', token = '${deviceId}' "
    "},\n"
    "  iotix.coap { url = 'coap://three' }, iotix.connection { url = 'side://four', options = { bad = true } } }\n"
    "local function handler(m) if type(m) == 'table' then return m.json end end\n"
    "local meant = { { 'connect' }, { 'connect', { timeout = '10ms' } }, { 'publish', 'a', 1, { qos = 1, wait = true } "
    "},\n"
    "  { 'publish', 'a', { x = 1 } }, { 'subscribe', 'x/#', handler }, { 'subscribe', 'x/y', { qos = 1 }, handler }, { "
    "'unsubscribe', 'x/#' },\n"
    "  { 'on', 'command', handler }, { 'on', 'message', handler }, { 'on', 'disconnect', handler }, { 'wait', "
    "'message' },\n"
    "  { 'open', places[1], { timeout = '50ms' } }, { 'open', places[2] }, { 'open', places[3], { retry = false } },\n"
    "  { 'observe', '/o', handler }, { 'serve', '/s', handler }, { 'serve', '/s/*', { rt = 'x' }, handler }, { "
    "'notify', "
    "'/s' },\n"
    "  { 'get', '/g', { timeout = '1s' } }, { 'post', '/p', { a = 1 } }, { 'request', { path = '/r', headers = { A = "
    "'b' } "
    "} },\n"
    "  { 'publish', 'a', 1, { user = { a = { '1', '2' } }, correlation = 'c', response_topic = 'r', expiry = 5 } },\n"
    "  { 'on', 'auth', handler },\n"
    "  { 'wait', 'connect', '5ms' }, { 'sleep', '5ms' }, { 'every', '1ms' }, { 'disconnect', 'abrupt' } }\n"
    "local cyclic, deep, wide, long = {}, {}, {}, ('x'):rep(70000)\n"
    "cyclic.me = cyclic\n"
    "for _ = 1, 100 do deep = { deep } end\n"
    "for i = 1, 1100 do wide['k' .. i] = i end\n"
    "local plain = { 'nil', true, false, 0, -0, -1, 1, 2, 0.5, 1e300, -1e300, 2 ^ 53, 2 ^ 31, -2 ^ 31, 0 / 0, 1 / 0, "
    "'', 'a', 'x/y',\n"
    "  '#', 'x/+/z', '5s', '1ms', '-1s', '1h', 'a\\0b', 'a\\255', long, cyclic, deep, wide, {}, { 1, 2, 3 }, { 1, x = "
    "1 }, { qos = 1 },\n"
    "  { qos = 1, wait = true }, { qos = -1 }, { retain = true }, { timeout = '1s' }, { timeout = 0 }, { retry = false "
    "},\n"
    "  { jitter = '1ms', phase = 0 }, { jitter = 5 }, { values = { 1, 'a', {} } }, { values = {}, weights = { 0 } }, { "
    "min = 1, max = 0 },\n"
    "  { min = 0, max = 1, step = 0.1 }, { step = 0 }, { mean = 0 / 0, stddev = -1 }, { start = 1e308, step = 1e308 }, "
    "{ value = cyclic },\n"
    "  { topic = '#', within = 0 }, { name = 'g', behaviour = print }, 'message', 'connect', 'disconnect', 'command', "
    "'warn', 'debug',\n"
    "  'abrupt', 'graceful', '{\"a\":[1,null]}', '[[[[', iotix.json.null, function() end, function(...) return ... "
    "end, iotix, places[1], places[2], places[3], places[4],\n"
    "  iotix.json, string, coroutine.create(function() coroutine.yield() end), setmetatable({}, { __index = function() "
    "return 1 end }) }\n"
    "local function walker(dev)\n"
    "  local state = (p.SEED * 7919 + dev.index * 104729) % 2147483647\n"
    "  local function draw(n)\n" // the sandbox's own generator is what is under test
    "    state = (state * 16807) % 2147483647\n"
    "    return state % n + 1\n"
    "  end\n"
    "  local mine = {}\n"
    "  local function remember(v) if v ~= nil then mine[draw(40)] = v end end\n"
    "  local function argument()\n"
    "    local kind = draw(10)\n"
    "    if kind == 1 then return dev end\n"
    "    if kind == 2 then return mine[draw(40)] end\n"
    "    if kind == 3 then return shared[draw(40)] end\n"
    "    local v = plain[draw(#plain)]\n"
    "    if v == 'nil' then return nil end\n"
    "    return v\n"
    "  end\n"
    "  local function call(f, n, ...)\n"
    "    local ok, a, b = pcall(f, ...)\n"
    "    if ok then remember(a) remember(b) if type(a) ~= 'table' then shared[draw(40)] = a end end\n"
    "  end\n"
    "  local function once()\n"
    "    local args, n, kind = {}, draw(5) - 1, draw(20)\n"
    "    for i = 1, n do args[i] = argument() end\n"
    "    if kind <= 4 then\n" // as it is meant
    "      local good = meant[draw(#meant)]\n"
    "      call(dev[good[1]], 4, dev, good[2], good[3], good[4])\n"
    "    elseif kind <= 9 then\n"
    "      if draw(10) > 1 then args[1] = dev end\n" // mostly the right self
    "      call(dev[methods[draw(#methods)]], n, unpack(args, 1, math.max(n, 1)))\n"
    "    elseif kind <= 14 then\n"
    "      call(functions[draw(#functions)], n, unpack(args, 1, n))\n"
    "    elseif kind <= 17 then\n"
    "      local v = mine[draw(40)]\n"
    "      if draw(2) > 1 then call(function(...) return v[conn_methods[draw(#conn_methods)]](...) end, n + 1, v, "
    "unpack(args, "
    "1, n))\n"
    "      elseif draw(3) > 1 then call(function(...) return v(...) end, n, unpack(args, 1, n))\n"
    "      else call(function(...) return v[draw(2) > 1 and 'cancel' or 'alive'](...) end, 1, v) end\n"
    "    else\n"
    "      local k, v = argument(), argument()\n"
    "      call(function() local _ = dev[k], tostring(v), v[k] dev[k] = v end)\n"
    "      call(function() return v .. k end)\n"
    "      call(function() return k == v, k < v end)\n"
    "      call(getmetatable, 1, v)\n"
    "      call(setmetatable, 2, v, {})\n"
    "    end\n"
    "  end\n"
    "  remember(dev)\n"
    "  shared[dev.index] = dev\n"
    "  while calls < p.CALLS do\n"
    "    local tasks = {}\n"
    "    for i = 1, 20 do\n"
    "      tasks[i] = iotix.spawn(once)\n"
    "      calls = calls + 1\n"
    "    end\n"
    "    dev:sleep('20ms')\n"
    "    for _, t in pairs(tasks) do t:cancel() end\n"
    "    if draw(20) == 1 then iotix.spawn(dev.connect, dev) end\n"
    "  end\n"
    "  print('walked ' .. calls)\n"
    "  error('over')\n"
    "end\n"
    "return iotix.scenario { name = 'walk', duration = '1h', groups = {\n"
    "  iotix.group { name = 'walkers', count = 20, behaviour = walker, on_error = 'restart', max_restarts = 100000 },\n"
    "  iotix.group { name = 'healthy', count = 10, behaviour = function(dev)\n"
    "    assert(dev:connect())\n"
    "    for n in dev:every('100ms', { phase = 0 }) do assert(dev:publish('beat', { n = n })) end\n"
    "  end } } }\n";

struct walk {
    struct stage *st;
    struct rng rng;
    struct loop_hook hook;
    unsigned beats[HEALTHY];
    uint64_t published;
};

static void on_publish(void *arg, struct device *d, const struct adapter_message *m)
{
    struct walk *w = arg;
    w->published++;
    if (strcmp(d->group->config.name, "healthy"))
        return;
    char expected[32];
    int n = snprintf(expected, sizeof(expected), "{\"n\":%u}", ++w->beats[d->index - 1]);
    if ((size_t)n != m->payload_len || memcmp(expected, m->payload, m->payload_len))
        fail_msg("healthy device %u: expected %s, got %.*s", (unsigned)d->index, expected, (int)m->payload_len,
                 m->payload);
}

// Their connections beside their own.
static void disturb_side(struct walk *w, struct adapter_conn *c)
{
    static const char *const paths[] = {"/s", "/s/x?y=1", "", "/nowhere"};
    uint64_t what = rng_u64(&w->rng) % 64;
    if (c->closing)
        return;
    if (c->state == FAKE_ON && what < 4)
        fake_message(c, "x/y");
    else if (c->state == FAKE_ON && what < 6)
        fake_ask(c, what, "GET", paths[rng_u64(&w->rng) % 4], "{}");
    else if (c->state == FAKE_ON && what == 6)
        fake_offline(c, ERR_CLOSED, true);
    else if (c->state != FAKE_OFF && what == 7)
        fake_offline(c, ERR_CLOSED, false);
    else if (c->state == FAKE_ON && what == 8)
        c->pending = 3;
    else if (what == 9)
        c->pending = 0;
    else if (c->state == FAKE_RETRYING)
        fake_online(c, false);
}

// The world of the walkers: every turn one of their connections gets an answer, a message, a loss.
static void disturb(struct loop_hook *hook, struct loop *loop)
{
    struct walk *w = container_of(hook, struct walk, hook);
    (void)loop;
    static const char *const topics[] = {"x/y", "walkers/walkers-1/command", "walkers/walkers-2/command", "", "a"};
    if (fake.requests && rng_u64(&w->rng) % 4 == 0)
        fake_answer(rng_u64(&w->rng) % 2 ? 200 : ERR_CLOSED, rng_u64(&w->rng) % 3 ? "{\"a\":1}" : NULL,
                    rng_u64(&w->rng) % 3 == 0);
    for (struct adapter_conn *c = fake.conns; c; c = c->next) {
        if (fake_is_side(c)) {
            disturb_side(w, c);
            continue;
        }
        struct device *d = c->owner;
        if (strcmp(d->group->config.name, "walkers") || c->closing || rng_u64(&w->rng) % 8)
            continue;
        uint64_t what = rng_u64(&w->rng) % 16;
        if (c->state == FAKE_ON && what == 0)
            fake_ask(c, what, "POST", "/s", "x");
        else if (c->state == FAKE_ON && what < 6)
            fake_message(c, topics[what % 5]);
        else if (c->state == FAKE_ON && what < 12)
            c->events->on_done(c->owner, (uint32_t)(d->next_token - what % 4), (int)(what % 3), NULL);
        else if (c->state == FAKE_ON && what == 12) {
            struct error refused = {0};
            error_set(&refused, ERR_REFUSED, "no");
            c->events->on_done(c->owner, d->next_token, -1, &refused);
        } else if (c->state == FAKE_ON && what == 13)
            fake_offline(c, ERR_CLOSED, true);
        else if (c->state == FAKE_ON && what == 14)
            fake_offline(c, ERR_CLOSED, false);
        else if (c->state == FAKE_RETRYING)
            fake_online(c, what & 1);
    }
}

static void test_walk(void **state)
{
    (void)state;
    static struct walk w;
    static char seed[32], calls[32];
    unsigned long long s = 1, n = 100000;
    const char *wish = getenv("IOTIX_WALK");
    if (wish && sscanf(wish, "%llu:%llu", &s, &n) < 1)
        fail_msg("IOTIX_WALK=SEED:CALLS");
    snprintf(seed, sizeof(seed), "SEED=%llu", s);
    snprintf(calls, sizeof(calls), "CALLS=%llu", n);
    rng_seed(&w.rng, s);
    w.st = stage_new();
    w.st->params[0] = seed;
    w.st->params[1] = calls;
    w.st->n_params = 2;
    stage_start(w.st, walk_text);
    fake.on_publish = on_publish;
    fake.on_publish_arg = &w;
    w.hook = (struct loop_hook){.priority = 21, .fn = disturb};
    loop_hook_add(fake.loop, &w.hook);
    unsigned seconds = 0;
    for (; seconds < 100000 && !strstr(w.st->lines, "walked "); seconds++) {
        stage_run(w.st, 1);
        if (w.st->lines_len > 60000 && !strstr(w.st->lines, "walked "))
            w.st->lines_len = 0; // what they log is of no interest
    }
    stage_says(w.st, "walked ");
    for (unsigned i = 0; i < HEALTHY; i++)
        assert_in_range(w.beats[i], seconds * 10 - 2, seconds * 10 + 2);
    assert_true(w.published > HEALTHY * seconds * 10); // the walkers got through, too
    lua_gc(w.st->scenario->L, LUA_GCCOLLECT, 0);
    loop_hook_remove(fake.loop, &w.hook);
    stage_close(w.st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_walk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
