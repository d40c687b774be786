// Requests, serving, commands as requests, response topics, enhanced authentication.
#include "fake_serve.h"
#include "core/jsonx.h"
#include "device/command.h"

#define COMMANDED                                                                                                      \
    "{\"id\":\"s\",\"name\":\"S\",\"type\":\"actuator\",\"protocol\":\"serve\",\"telemetry\":[],\"commands\":["        \
    "{\"name\":\"open\",\"parameters\":[{\"name\":\"angle\",\"type\":\"integer\",\"min\":0,\"max\":90,"                \
    "\"required\":true}]},{\"name\":\"slow\"}]}"

struct ear {
    unsigned started, requests, responses, auths;
    uint64_t ticket;
    uint32_t token;
    unsigned status;
    bool refuse, hold; // requests; commands
    uint32_t command;
    char path[128], said[600];
};

static int ear_start(void *arg, struct device *d, struct error *err)
{
    struct ear *e = arg;
    e->started++;
    return device_connect(d, err);
}

static void ear_stop(void *arg, struct device *d)
{
    (void)arg, (void)d;
}

static void ear_online(void *arg, struct device *d, bool session_present)
{
    (void)arg, (void)d, (void)session_present;
}

static void ear_offline(void *arg, struct device *d, const struct error *why, bool will_retry)
{
    (void)arg, (void)d, (void)why, (void)will_retry;
}

static void ear_message(void *arg, struct device *d, const struct adapter_message *m)
{
    (void)arg, (void)d, (void)m;
}

static void ear_done(void *arg, struct device *d, uint32_t token, int qos, const struct error *err)
{
    (void)arg, (void)d, (void)token, (void)qos, (void)err;
}

static void ear_response(void *arg, struct device *d, uint32_t token, const struct adapter_response *r,
                         const struct error *err)
{
    struct ear *e = arg;
    (void)d;
    e->responses++;
    e->token = token;
    e->status = r ? r->status : 0;
    snprintf(e->said, sizeof(e->said), "%s", err ? err->text : "");
}

static int ear_request(void *arg, struct device *d, uint64_t ticket, const struct adapter_request *r, struct error *err)
{
    struct ear *e = arg;
    (void)d;
    e->requests++;
    e->ticket = ticket;
    snprintf(e->path, sizeof(e->path), "%s %.*s", r->method, (int)r->path_len, r->path);
    return e->refuse ? error_set(err, ERR_LIMIT, "32 handlers are running already") : 0;
}

static int ear_auth(void *arg, struct device *d, const uint8_t *data, size_t n, struct buf *reply, struct error *err)
{
    struct ear *e = arg;
    (void)d, (void)err;
    e->auths++;
    return buf_printf(reply, "re:%.*s", (int)n, data ? (const char *)data : "");
}

static int ear_command(void *arg, struct device *d, int hook, const struct device_command *c, struct error *err)
{
    struct ear *e = arg;
    (void)d, (void)hook;
    e->command = c->number;
    return e->hold ? 0 : error_set(err, ERR_NOT_FOUND, "nobody");
}

static const struct device_ops ear_ops = {.start = ear_start,
                                          .stop = ear_stop,
                                          .online = ear_online,
                                          .offline = ear_offline,
                                          .message = ear_message,
                                          .done = ear_done,
                                          .response = ear_response,
                                          .request = ear_request,
                                          .auth = ear_auth,
                                          .hook_command = ear_command};

struct world {
    struct loop *loop;
    struct fleet *fleet;
    struct model *model;
    struct device *d;
    struct ear ear;
    char topic[128], payload[512], correlation[64];
    unsigned published;
};

static void on_publish(void *arg, struct device *d, const struct adapter_message *m)
{
    struct world *w = arg;
    (void)d;
    w->published++;
    snprintf(w->topic, sizeof(w->topic), "%.*s", (int)m->topic_len, m->topic);
    snprintf(w->payload, sizeof(w->payload), "%.*s", (int)m->payload_len, (const char *)m->payload);
    snprintf(w->correlation, sizeof(w->correlation), "%.*s", m->meta ? (int)m->meta->correlation_len : 0,
             m->meta && m->meta->correlation ? (const char *)m->meta->correlation : "");
}

static void begin(struct world *w, const char *model, const char *url, const char *options, bool behaviour)
{
    struct error err = {0};
    memset(w, 0, sizeof(*w));
    w->loop = fake_setup();
    fake.auto_online = true;
    fake.on_publish = on_publish;
    fake.on_publish_arg = w;
    struct fleet_config config = fs_fleet_config();
    config.ops = &ear_ops;
    config.ops_arg = &w->ear;
    w->fleet = fleet_new(&config, &err);
    w->model = model ? model_of(model) : NULL;
    struct group_config g = fake_group_config("g", 1, w->model);
    json_t *json = options ? json_loads(options, 0, NULL) : NULL;
    g.url = url;
    g.options = json;
    g.behaviour = behaviour;
    struct group *group = fleet_add_group(w->fleet, &g, &err);
    json_decref(json);
    if (!group)
        fail_msg("%s", err.text);
    fleet_start(w->fleet, loop_now_us(w->loop));
    run_until(w->loop, loop_now_us(w->loop) + 10000);
    w->d = group->devices[0];
}

static void end(struct world *w)
{
    fleet_delete(w->fleet);
    model_delete(w->model);
    fake_teardown();
}

static void an_adapter_that_lacks_something_is_named(void **state)
{
    struct world w;
    struct error err;
    struct buf out;
    struct adapter_request r = {.method = "GET", .path = "/", .path_len = 1};
    struct adapter_response answer = {.status = 200};
    struct adapter_subscription plain = {.filter = "a/b", .qos = 1}, special = {.filter = "a/b", .no_local = true};
    (void)state;
    begin(&w, NULL, "bare://nowhere", NULL, true);
    buf_create(&out, 100);
    assert_int_equal(device_request(w.d, &r, 1, &err), -1);
    assert_string_equal(err.text, "the bare adapter has no requests");
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_int_equal(device_serve(w.d, "/x", NULL, &err), -1);
    assert_string_equal(err.text, "the bare adapter has no serve");
    assert_int_equal(device_notify(w.d, "/x", &err), -1);
    assert_int_equal(device_respond(w.d, 1, &answer, &err), -1);
    assert_int_equal(device_served_at(w.d, &out, &err), -1);
    assert_int_equal(device_subscribe_with(w.d, &special, 0, &err), -1);
    assert_string_equal(err.text, "the bare adapter has no subscription options");
    assert_int_equal(device_subscribe_with(w.d, &plain, 0, &err), 0); // nothing special about it
    assert_string_equal(fake.last_filter, "a/b");
    device_request_cancel(w.d, 1);
    device_unserve(w.d, "/x");
    buf_destroy(&out);
    end(&w);
}

static void requests_and_their_answers_reach_the_behaviour(void **state)
{
    struct world w;
    struct error err;
    struct adapter_request r = {.method = "GET", .path = "/a?b", .path_len = 4};
    struct adapter_response answer = {.status = 404};
    (void)state;
    begin(&w, NULL, "serve://nowhere", NULL, true);
    uint32_t token = device_token(w.d);
    assert_int_equal(device_request(w.d, &r, token, &err), 0);
    assert_string_equal(served.path, "GET /a?b");
    fake.conns->events->on_response(w.d, token, &answer, NULL);
    assert_int_equal(w.ear.token, token);
    assert_int_equal(w.ear.status, 404);
    error_set(&err, ERR_TIMEOUT, "no answer in 3 s");
    fake.conns->events->on_response(w.d, token, NULL, &err);
    assert_string_equal(w.ear.said, "no answer in 3 s");
    device_request_cancel(w.d, token);
    assert_int_equal(served.n_cancelled, 1);
    device_disconnect(w.d, ADAPTER_GRACEFUL);
    run_until(w.loop, loop_now_us(w.loop) + 10000);
    assert_int_equal(device_request(w.d, &r, token, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    end(&w);
}

static void a_path_is_served_until_the_device_stops(void **state)
{
    struct world w;
    struct error err;
    struct buf out;
    struct adapter_response answer = {.status = 205, .payload = (const uint8_t *)"21.5", .payload_len = 4};
    (void)state;
    begin(&w, NULL, "serve://nowhere", NULL, true);
    buf_create(&out, 100);
    assert_int_equal(device_serve(w.d, "temp", NULL, &err), -1); // the adapter's own words
    assert_int_equal(device_serve(w.d, "/temp", NULL, &err), 0);
    assert_int_equal(device_served_at(w.d, &out, &err), 0);
    assert_string_equal(buf_cstr(&out), "fake://here");
    fs_ask(fake.conns, 7, "GET", "/temp?unit=C", "");
    assert_string_equal(w.ear.path, "GET /temp?unit=C");
    assert_int_equal(device_respond(w.d, w.ear.ticket, &answer, &err), 0);
    assert_string_equal(served.body, "21.5");
    assert_int_equal(device_notify(w.d, "/temp", &err), 0);
    assert_int_equal(served.n_notified, 1);
    w.ear.refuse = true; // more than the behaviour takes
    fs_ask(fake.conns, 8, "GET", "/temp", "");
    assert_int_equal(served.ticket, 8);
    assert_int_equal(served.status, 503);
    device_unserve(w.d, "/temp");
    assert_false(fs_serves("/temp"));
    device_stop(w.d, ADAPTER_GRACEFUL);
    fs_ask(fake.conns, 9, "GET", "/temp", ""); // while it says goodbye
    assert_int_equal(served.status, 503);
    run_until(w.loop, loop_now_us(w.loop) + 10000);
    assert_int_equal(device_serve(w.d, "/temp", NULL, &err), -1);
    assert_string_equal(err.text, "the device is stopped");
    assert_int_equal(device_respond(w.d, 9, &answer, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    buf_destroy(&out);
    end(&w);
}

static void commands_of_a_model_are_served_and_answered(void **state)
{
    struct world w;
    struct error err;
    (void)state;
    begin(&w, COMMANDED, "serve://nowhere", NULL, false);
    assert_int_equal(fake.subscribes, 0);
    assert_true(fs_serves("/command") && fs_serves("/commands/open") && fs_serves("/commands/slow"));
    assert_int_equal(device_serve(w.d, "/commands/open", NULL, &err), -1);
    assert_string_equal(err.text, "/commands/open is served for the commands of its model");
    fs_ask(fake.conns, 1, "POST", "/commands/open", "{\"params\":{\"angle\":30},\"id\":4}");
    assert_int_equal(served.ticket, 1);
    assert_int_equal(served.status, 200);
    assert_string_equal(served.body, "{\"ok\":true,\"command\":\"open\",\"id\":4}");
    assert_string_equal(served.type, "application/json");
    fs_ask(fake.conns, 2, "PUT", "/commands/open?x", "{\"angle\":300}");
    assert_int_equal(served.status, 400);
    assert_non_null(strstr(served.body, "\"code\":\"range\""));
    fs_ask(fake.conns, 3, "POST", "/command", "{\"command\":\"opne\"}");
    assert_int_equal(served.status, 404);
    assert_non_null(strstr(served.body, "did you mean"));
    fs_ask(fake.conns, 4, "GET", "/commands/open", "");
    assert_int_equal(served.status, 405);
    fs_ask(fake.conns, 5, "POST", "/commands/", "");
    assert_int_equal(served.status, 404);
    fs_ask(fake.conns, 999, "POST", "/commands/slow", ""); // whose client is gone when it is answered
    assert_int_equal(w.published, 0);                      // nothing goes to a response topic
    end(&w);
}

static void a_command_that_takes_time_is_answered_later_or_times_out(void **state)
{
    struct world w;
    struct error err;
    (void)state;
    begin(&w, COMMANDED, "serve://nowhere", NULL, true);
    w.ear.hold = true;
    json_t *result = json_parse("{\"done\":1}", 10, "result", &err);
    fs_ask(fake.conns, 11, "POST", "/commands/slow", "");
    assert_int_equal(served.n_responses, 0);
    device_answer(w.d, w.ear.command, result, NULL);
    assert_int_equal(served.ticket, 11);
    assert_string_equal(served.body, "{\"ok\":true,\"command\":\"slow\",\"result\":{\"done\":1}}");
    fs_ask(fake.conns, 12, "POST", "/commands/slow", "");
    device_answer(w.d, w.ear.command, NULL, "jammed");
    assert_int_equal(served.status, 500);
    fs_ask(fake.conns, 13, "POST", "/commands/slow", "");
    run_until(w.loop, loop_now_us(w.loop) + 120000000);
    assert_int_equal(served.ticket, 13);
    assert_int_equal(served.status, 504);
    fs_ask(fake.conns, 14, "POST", "/commands/slow", ""); // and one that is under way at the end
    json_decref(result);
    end(&w);
}

static void commands_that_are_polled_are_subscribed_once(void **state)
{
    struct world w;
    (void)state;
    begin(&w, COMMANDED, "serve://nowhere", "{\"commands\":{\"mode\":\"poll\"}}", false);
    assert_int_equal(fake.subscribes, 1);
    assert_string_equal(fake.last_filter, "g/g-1/command");
    assert_int_equal(served.n_paths, 0);
    end(&w);
}

static void tell(struct world *w, const char *topic, const char *payload, const char *response, const char *correlation)
{
    struct adapter_meta meta = {.response_topic = response,
                                .response_topic_len = response ? strlen(response) : 0,
                                .correlation = (const uint8_t *)correlation,
                                .correlation_len = correlation ? strlen(correlation) : 0};
    struct adapter_message m = {.topic = topic,
                                .topic_len = strlen(topic),
                                .payload = (const uint8_t *)payload,
                                .payload_len = strlen(payload),
                                .meta = &meta};
    fake.conns->in_event = true;
    fake.conns->events->on_message(w->d, &m);
    fake.conns->in_event = false;
}

static void a_response_topic_takes_the_place_of_the_models(void **state)
{
    struct world w;
    (void)state;
    begin(&w,
          "{\"id\":\"s\",\"name\":\"S\",\"type\":\"actuator\",\"protocol\":\"mqtt\",\"telemetry\":[],\"commands\":["
          "{\"name\":\"open\"}]}",
          "fake://nowhere", NULL, true);
    tell(&w, "g/g-1/commands/open", "", NULL, NULL);
    assert_string_equal(w.topic, "g/g-1/response");
    tell(&w, "g/g-1/commands/open", "", "answers/me", "c-42");
    assert_string_equal(w.topic, "answers/me");
    assert_string_equal(w.correlation, "c-42");
    assert_string_equal(w.payload, "{\"ok\":true,\"command\":\"open\"}");
    tell(&w, "g/g-1/command", "{\"command\":\"close\"}", "answers/me", "c-43"); // what goes wrong, too
    assert_string_equal(w.correlation, "c-43");
    assert_non_null(strstr(w.payload, "\"ok\":false"));
    w.ear.hold = true; // its sender's words are gone when it is answered
    char correlation[] = "c-44", topic[] = "later/me";
    tell(&w, "g/g-1/commands/open", "", topic, correlation);
    memset(correlation, 'x', sizeof(correlation) - 1);
    memset(topic, 'x', sizeof(topic) - 1);
    device_answer(w.d, w.ear.command, NULL, NULL);
    assert_string_equal(w.topic, "later/me");
    assert_string_equal(w.correlation, "c-44");
    // A slow device keeps them as well.
    struct error err = {0};
    json_t *params = json_loads("{\"delayMs\":500}", 0, NULL);
    if (device_fail_inject(w.d, "slow", params, 0, &err))
        fail_msg("%s", err.text);
    json_decref(params);
    w.ear.hold = false;
    w.correlation[0] = 0;
    tell(&w, "g/g-1/commands/open", "", "answers/me", "c-45");
    assert_string_equal(w.correlation, "");
    run_until(w.loop, loop_now_us(w.loop) + 60000000);
    assert_string_equal(w.correlation, "c-45");
    end(&w);
}

static void enhanced_authentication_is_the_behaviours(void **state)
{
    struct world w;
    struct error err = {0};
    struct buf reply;
    (void)state;
    begin(&w, NULL, "fake://nowhere", NULL, true);
    buf_create(&reply, 100);
    assert_int_equal(fake.conns->events->on_auth(w.d, (const uint8_t *)"x", 1, &reply, &err), 0);
    assert_string_equal(buf_cstr(&reply), "re:x");
    end(&w);
    begin(&w, SENSOR, "fake://nowhere", NULL, false); // nobody is there to answer
    assert_int_equal(fake.conns->events->on_auth(w.d, NULL, 0, &reply, &err), -1);
    assert_non_null(strstr(err.text, "dev:on(\"auth\", fn)"));
    buf_destroy(&reply);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_adapter_that_lacks_something_is_named),
        cmocka_unit_test(requests_and_their_answers_reach_the_behaviour),
        cmocka_unit_test(a_path_is_served_until_the_device_stops),
        cmocka_unit_test(commands_of_a_model_are_served_and_answered),
        cmocka_unit_test(a_command_that_takes_time_is_answered_later_or_times_out),
        cmocka_unit_test(commands_that_are_polled_are_subscribed_once),
        cmocka_unit_test(a_response_topic_takes_the_place_of_the_models),
        cmocka_unit_test(enhanced_authentication_is_the_behaviours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
