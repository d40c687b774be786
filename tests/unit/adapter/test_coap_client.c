// The CoAP adapter as a client of the echo server, over UDP, TCP, DTLS and TLS.
#include "coap_harness.h"

static void every_method_gets_its_answer(void **state)
{
    struct world *w = *state;
    struct client *cl = &w->client;
    static const struct {
        const char *method, *payload;
        unsigned status;
    } all[] = {{"GET", NULL, 205},  {"POST", "p", 204},  {"PUT", "q", 204},   {"DELETE", NULL, 202},
               {"FETCH", "f", 205}, {"PATCH", "r", 204}, {"iPATCH", "s", 204}};
    for (unsigned k = 0; k < 7; k++) {
        struct record *r = ask(cl, all[k].method, "/echo?a=1", all[k].payload);
        assert_false(r->failed);
        assert_int_equal(r->status, all[k].status);
        assert_string_equal((char *)r->payload, all[k].payload ? all[k].payload : "a=1");
    }
    assert_int_equal(ask(cl, "GET", "/none", NULL)->status, 404);
    assert_int_equal(counter(w, "requests"), 8);
    assert_int_equal(counter(w, "responses{status:2xx}"), 7);
    assert_int_equal(counter(w, "responses{status:4xx}"), 1);
    assert_int_equal(counter(w, "connects"), 1);
}

static void bodies_travel_in_blocks(void **state)
{
    struct world *w = *state;
    static const size_t sizes[] = {1023, 1024, 1025, 70000, 300000};
    struct client *cl = &w->client;
    for (unsigned k = 0; k < 5; k++) {
        uint8_t *body = malloc(sizes[k]);
        for (size_t b = 0; b < sizes[k]; b++)
            body[b] = (uint8_t)(b * 7 + b / 1024);
        struct record *r = ask_bytes(cl, "PUT", "/stored", body, sizes[k], NULL);
        assert_false(r->failed);
        assert_int_equal(r->status, k ? 204 : 201);
        r = ask(cl, "GET", "/stored", NULL);
        if (r->failed)
            print_message("%zu: %s\n", sizes[k], r->text);
        assert_int_equal(r->status, 205);
        assert_int_equal(r->n, sizes[k]);
        assert_memory_equal(r->payload, body, sizes[k]);
        free(body);
    }
    assert_int_equal(counter(w, "responses{status:2xx}"), 10); // exchanges, not blocks
}

static void a_megabyte_is_fetched(void **state)
{
    struct world *w = *state;
    struct record *r = ask(&w->client, "GET", "/large?size=1048576", NULL);
    assert_int_equal(r->n, 1048576);
    for (size_t i = 0; i < r->n; i += 997)
        assert_int_equal(r->payload[i], 'a' + i % 26);
}

static void small_blocks_are_negotiated(void **state)
{
    struct world *w = *state;
    struct record *r = ask(&w->client, "GET", "/large?size=1000", NULL);
    assert_int_equal(r->n, 1000);
    r = ask_bytes(&w->client, "GET", "/large?size=100", NULL, 0, "{\"blockSize\": 16}");
    assert_int_equal(r->n, 100);
}

static void an_answer_larger_than_allowed_is_an_error(void **state)
{
    struct world *w = *state;
    struct record *r = ask(&w->client, "GET", "/large?size=5001", NULL);
    assert_int_equal(r->code, ERR_LIMIT);
    assert_non_null(strstr(r->text, "maxResponse"));
    assert_int_equal(ask(&w->client, "GET", "/large?size=5000", NULL)->n, 5000);
}

static void separate_responses_and_non_confirmable_requests(void **state)
{
    struct world *w = *state;
    struct record *r = ask(&w->client, "GET", "/slow?ms=60", NULL);
    assert_int_equal(r->status, 205);
    assert_string_equal((char *)r->payload, "slow");
    r = ask_bytes(&w->client, "POST", "/echo", "x", 1, "{\"confirmable\": false}");
    assert_int_equal(r->status, 204);
}

static void publishes_are_acknowledged(void **state)
{
    struct world *w = *state;
    struct error err;
    struct client *cl = &w->client;
    assert_int_equal(publish(cl, "t/1", "{}", 2, 1, 5, &err), 0);
    assert_int_equal(OPS->pending(cl->conn), 1);
    WAIT(w, cl->done.n == 1);
    assert_false(cl->done.at[0].failed);
    assert_int_equal(cl->done.at[0].token, 5);
    assert_int_equal(OPS->pending(cl->conn), 0);
    struct record *r = ask(cl, "GET", "/t/1", NULL);
    assert_string_equal((char *)r->payload, "{}");
    assert_non_null(strstr(r->headers, "Content-Format=application/json;"));
    assert_int_equal(publish(cl, "t/1", "{1}", 3, 0, 6, &err), 0);
    WAIT(w, counter(w, "responses{status:2xx}") == 3);
    assert_string_equal((char *)ask(cl, "GET", "/t/1", NULL)->payload, "{1}");
    assert_int_equal(cl->done.n, 1);
    assert_int_equal(counter(w, "messages_sent"), 2);
    assert_int_equal(counter(w, "messages_acked"), 1);
    // What the server refuses is told with its code.
    char *big = calloc(1, 3000);
    assert_int_equal(publish(cl, "large", big, 3000, 1, 7, &err), 0);
    WAIT(w, cl->done.n == 2);
    assert_int_equal(cl->done.at[1].code, ERR_REFUSED);
    assert_non_null(strstr(cl->done.at[1].text, "4.05"));
    free(big);
}

static void resources_are_observed(void **state)
{
    struct world *w = *state;
    struct error err;
    struct client *cl = &w->client;
    ask(cl, "PUT", "/state", "one");
    assert_int_equal(OPS->subscribe(cl->conn, "state", 1, 11, &err), 0);
    WAIT(w, cl->done.n == 1 && cl->messages.n == 1);
    assert_false(cl->done.at[0].failed);
    assert_string_equal((char *)cl->messages.at[0].payload, "one");
    assert_string_equal(cl->messages.at[0].text, "state");
    ask(cl, "PUT", "/state", "two");
    WAIT(w, cl->messages.n == 2);
    assert_string_equal((char *)cl->messages.at[1].payload, "two");
    // A large notification comes in blocks.
    char *big = malloc(5001);
    memset(big, 'z', 5000);
    big[5000] = '\0';
    ask(cl, "PUT", "/state", big);
    WAIT(w, cl->messages.n == 3);
    assert_int_equal(cl->messages.at[2].n, 5000);
    free(big);
    // Three PUTs and the subscription; notifications are no answers of their own.
    WAIT(w, counter(w, "responses{status:2xx}") == 4);
    assert_int_equal(OPS->unsubscribe(cl->conn, "state", 12, &err), 0);
    WAIT(w, cl->done.n == 2);
    assert_int_equal(cl->done.at[1].token, 12);
    ask(cl, "PUT", "/state", "three");
    SETTLE(w);
    assert_int_equal(cl->messages.n, 3);
    // Not observable, not there.
    assert_int_equal(OPS->subscribe(cl->conn, "echo", 1, 13, &err), 0);
    assert_int_equal(OPS->subscribe(cl->conn, "nothing", 1, 14, &err), 0);
    WAIT(w, cl->done.n == 4);
    assert_int_equal(cl->done.at[2].code, ERR_REFUSED);
    assert_non_null(strstr(cl->done.at[2].text, "cannot be observed"));
    assert_non_null(strstr(cl->done.at[3].text, "4.04"));
}

static void observations_are_requests_too(void **state)
{
    struct world *w = *state;
    struct error err;
    struct client *cl = &w->client;
    ask(cl, "PUT", "/state", "one");
    unsigned before = cl->responses.n;
    assert_int_equal(ask_only(cl, "OBSERVE", "/state", 77, &err), 0);
    WAIT(w, cl->responses.n == before + 1);
    assert_true(cl->responses.at[before].more);
    ask(cl, "PUT", "/state", "two");
    WAIT(w, cl->responses.n == before + 3);
    OPS->request_cancel(cl->conn, 77);
    ask(cl, "PUT", "/state", "three");
    SETTLE(w);
    assert_int_equal(cl->responses.n, before + 4);
    // A resource that cannot be observed answers once.
    assert_int_equal(ask_only(cl, "OBSERVE", "/echo?x", 78, &err), 0);
    WAIT(w, cl->responses.n == before + 5);
    assert_false(cl->responses.at[before + 4].more);
    // An observed resource that goes ends its observation with its status.
    assert_int_equal(ask_only(cl, "OBSERVE", "/state", 79, &err), 0);
    WAIT(w, cl->responses.n == before + 6);
    ask(cl, "DELETE", "/state", NULL);
    WAIT(w, cl->responses.n == before + 8);
}

static void headers_are_options(void **state)
{
    struct world *w = *state;
    struct error err;
    struct client *cl = &w->client;
    static const struct adapter_property good[] = {{"Content-Format", 14, "application/cbor", 16},
                                                   {"etag", 4, "0x0102ff", 8}};
    assert_int_equal(ask_with(cl, "POST", "/echo", "x", 1, good, 2, NULL, 1, &err), 0);
    WAIT(w, cl->responses.n == 1);
    assert_non_null(strstr(cl->responses.at[0].headers, "Content-Format=application/cbor;"));
    static const struct {
        struct adapter_property h;
        const char *word;
    } bad[] = {{{"Contet-Format", 13, "50", 2}, "did you mean"},
               {{"Accept", 6, "70000", 5}, "0 to 65535"},
               {{"ETag", 4, "123456789", 9}, "1 to 8 bytes"},
               {{"ETag", 4, "0x1", 3}, "hex digits"},
               {{"Max-Age", 7, "5", 1}, "belongs in a response"},
               {{"Observe", 7, "0", 1}, "adapter's own"},
               {{"23", 2, "0", 1}, "adapter's own"}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ask_with(cl, "POST", "/echo", "x", 1, &bad[i].h, 1, NULL, 1, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
        if (!strstr(err.text, bad[i].word))
            print_message("%s\n", err.text);
        assert_non_null(strstr(err.text, bad[i].word));
    }
}

static void bad_requests_are_refused_at_once(void **state)
{
    struct world *w = *state;
    struct error err;
    struct client *cl = &w->client;
    static const struct {
        const char *method, *path, *payload, *options, *word;
        enum error_code code;
    } bad[] = {{"HEAD", "/a", NULL, NULL, "no method HEAD", ERR_UNSUPPORTED},
               {"GET", "/a", "x", NULL, "no payload", ERR_INVALID},
               {"GET", "coap://h/a", NULL, NULL, "connection of its own", ERR_INVALID},
               {"GET", "/a/../b", NULL, NULL, "no segments", ERR_INVALID},
               {"GET", "/a%2", NULL, NULL, "hex digits", ERR_INVALID},
               {"GET", "/a%zz", NULL, NULL, "hex digits", ERR_INVALID},
               {"GET", "/a#b", NULL, NULL, "no \"#\"", ERR_INVALID},
               {"GET", "/a", NULL, "{\"confirmabel\": true}", "did you mean", ERR_INVALID},
               {"GET", "/a", NULL, "{\"blockSize\": 100}", "1024", ERR_INVALID}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ask_with(cl, bad[i].method, bad[i].path, bad[i].payload, bad[i].payload ? 1 : 0, NULL, 0,
                                  bad[i].options, 1, &err),
                         -1);
        assert_int_equal(err.code, bad[i].code);
        if (!strstr(err.text, bad[i].word))
            print_message("%s\n", err.text);
        assert_non_null(strstr(err.text, bad[i].word));
    }
    char long_path[400] = "/";
    memset(long_path + 1, 'a', 300);
    assert_int_equal(ask_only(cl, "GET", long_path, 1, &err), -1);
    assert_non_null(strstr(err.text, "255"));
    assert_int_equal(OPS->subscribe(cl->conn, "a/+/b", 1, 1, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_int_equal(OPS->unsubscribe(cl->conn, "a", 1, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    struct adapter_meta meta = {.response_topic = "x", .response_topic_len = 1};
    struct adapter_message m = {.topic = "t", .topic_len = 1, .meta = &meta};
    assert_int_equal(OPS->publish(cl->conn, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    SETTLE(w);
    assert_int_equal(cl->responses.n, 0);
}

static void many_requests_wait_for_their_turn(void **state)
{
    struct world *w = *state;
    struct error err;
    struct client *cl = &w->client;
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(ask_only(cl, "GET", "/echo?x", i + 1, &err), 0);
    assert_int_equal(ask_only(cl, "GET", "/echo?x", 99, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.text, "queueMax"));
    WAIT(w, cl->responses.n == 20);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(cl->responses.at[i].token, i + 1);
}

static void it_closes_and_opens_again(void **state)
{
    struct world *w = *state;
    struct error err;
    struct client *cl = &w->client;
    assert_int_equal(OPS->conn_open(cl->conn, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    assert_int_equal(ask_only(cl, "GET", "/slow?ms=3000", 1, &err), 0);
    OPS->conn_close(cl->conn, ADAPTER_GRACEFUL);
    assert_int_equal(cl->offline, 0);
    WAIT(w, cl->offline == 1);
    assert_int_equal(cl->why.code, ERR_NONE);
    assert_int_equal(cl->responses.at[0].code, ERR_CANCELLED);
    assert_int_equal(ask_only(cl, "GET", "/echo", 1, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    client_connect(w, cl);
    assert_int_equal(ask(cl, "GET", "/echo", NULL)->status, 205);
    assert_int_equal(counter(w, "reconnects"), 1);
}

static void delete_me(struct client *cl, const struct record *r)
{
    (void)r;
    OPS->conn_delete(cl->conn);
    cl->conn = NULL;
}

static void a_connection_may_be_deleted_inside_its_events(void **state)
{
    struct world *w = *state;
    struct error err;
    w->client.on_response = delete_me;
    assert_int_equal(ask_only(&w->client, "GET", "/echo", 1, &err), 0);
    assert_int_equal(ask_only(&w->client, "GET", "/large", 2, &err), 0);
    WAIT(w, w->client.responses.n == 1);
    SETTLE(w);
    assert_int_equal(w->client.responses.n, 1);
    records_clear(&w->client.responses);
}

static void many_connections_share_contexts(void **state)
{
    enum { N = 1200 };
    struct world *w = *state;
    struct error err;
    struct client *all = calloc(N, sizeof *all);
    for (unsigned i = 0; i < N; i++) {
        client_create(w, &all[i]);
        assert_int_equal(OPS->conn_open(all[i].conn, &err), 0);
    }
    for (unsigned i = 0; i < N; i++)
        WAIT(w, all[i].online == 1);
    for (unsigned from = 0; from < N; from += 100) { // more at once do not fit in the server's receive buffer
        for (unsigned i = from; i < from + 100; i++)
            assert_int_equal(ask_only(&all[i], "GET", "/echo?a", i + 1, &err), 0);
        for (unsigned i = from; i < from + 100; i++) {
            WAIT(w, all[i].responses.n == 1);
            assert_int_equal(all[i].responses.at[0].status, 205);
            assert_true(OPS->footprint(all[i].conn) < 4096);
        }
    }
    for (unsigned i = 0; i < N; i++)
        client_destroy(&all[i]);
    free(all);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_everywhere(every_method_gets_its_answer, NULL),
        cmocka_unit_test_everywhere(bodies_travel_in_blocks, NULL),
        cmocka_unit_test_echo(a_megabyte_is_fetched, "coap", "{\"nstart\": 4}"),
        cmocka_unit_test_echo(small_blocks_are_negotiated, "coap", "{\"blockSize\": 64}"),
        cmocka_unit_test_echo(an_answer_larger_than_allowed_is_an_error, "coap", "{\"maxResponse\": 5000}"),
        cmocka_unit_test_everywhere(separate_responses_and_non_confirmable_requests, NULL),
        cmocka_unit_test_everywhere(publishes_are_acknowledged,
                                    "{\"publish\": {\"method\": \"PUT\", \"contentFormat\": \"application/json\"}}"),
        cmocka_unit_test_everywhere(resources_are_observed, NULL),
        cmocka_unit_test_echo(observations_are_requests_too, "coap", NULL),
        cmocka_unit_test_echo(headers_are_options, "coap", NULL),
        cmocka_unit_test_echo(bad_requests_are_refused_at_once, "coap", NULL),
        cmocka_unit_test_echo(many_requests_wait_for_their_turn, "coap", "{\"queueMax\": 20, \"nstart\": 2}"),
        cmocka_unit_test_everywhere(it_closes_and_opens_again, NULL),
        cmocka_unit_test_everywhere(a_connection_may_be_deleted_inside_its_events, NULL),
        cmocka_unit_test_echo(many_connections_share_contexts, "coap", NULL),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
