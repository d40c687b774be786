// The CoAP adapter as a client of the echo server, over UDP, TCP, DTLS and TLS.
#include "coap_harness.h"

static const char *const schemes[] = {"coap", "coap+tcp", "coaps", "coaps+tcp"};

static void every_method_gets_its_answer(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        world_echo(&w, schemes[i], NULL);
        struct client *cl = &w.client;
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
        assert_int_equal(counter(&w, "requests"), 8);
        assert_int_equal(counter(&w, "responses{status:2xx}"), 7);
        assert_int_equal(counter(&w, "responses{status:4xx}"), 1);
        assert_int_equal(counter(&w, "connects"), 1);
        world_destroy(&w);
    }
}

static void bodies_travel_in_blocks(void **state)
{
    (void)state;
    static const size_t sizes[] = {1023, 1024, 1025, 70000, 300000};
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        struct error err;
        world_echo(&w, schemes[i], NULL);
        struct client *cl = &w.client;
        for (unsigned k = 0; k < 5; k++) {
            uint8_t *body = malloc(sizes[k]);
            for (size_t b = 0; b < sizes[k]; b++)
                body[b] = (uint8_t)(b * 7 + b / 1024);
            unsigned before = cl->responses.n;
            assert_int_equal(ask_with(cl, "PUT", "/stored", body, sizes[k], NULL, 0, NULL, 1, &err), 0);
            WAIT(&w, cl->responses.n > before);
            assert_int_equal(cl->responses.at[before].failed, 0);
            assert_int_equal(cl->responses.at[before].status, k ? 204 : 201);
            struct record *r = ask(cl, "GET", "/stored", NULL);
            if (r->failed)
                print_message("%s %zu: %s\n", schemes[i], sizes[k], r->text);
            assert_int_equal(r->status, 205);
            assert_int_equal(r->n, sizes[k]);
            assert_memory_equal(r->payload, body, sizes[k]);
            free(body);
        }
        assert_int_equal(counter(&w, "responses{status:2xx}"), 10); // exchanges, not blocks
        world_destroy(&w);
    }
}

static void a_megabyte_is_fetched(void **state)
{
    struct world w;
    (void)state;
    world_echo(&w, "coap", "{\"nstart\": 4}");
    struct record *r = ask(&w.client, "GET", "/large?size=1048576", NULL);
    assert_int_equal(r->n, 1048576);
    for (size_t i = 0; i < r->n; i += 997)
        assert_int_equal(r->payload[i], 'a' + i % 26);
    world_destroy(&w);
}

static void small_blocks_are_negotiated(void **state)
{
    struct world w;
    struct error err;
    (void)state;
    world_echo(&w, "coap", "{\"blockSize\": 64}");
    struct record *r = ask(&w.client, "GET", "/large?size=1000", NULL);
    assert_int_equal(r->n, 1000);
    unsigned before = w.client.responses.n;
    assert_int_equal(ask_with(&w.client, "GET", "/large?size=100", NULL, 0, NULL, 0, "{\"blockSize\": 16}", 9, &err),
                     0);
    WAIT(&w, w.client.responses.n > before);
    assert_int_equal(w.client.responses.at[before].n, 100);
    world_destroy(&w);
}

static void an_answer_larger_than_allowed_is_an_error(void **state)
{
    struct world w;
    (void)state;
    world_echo(&w, "coap", "{\"maxResponse\": 5000}");
    struct record *r = ask(&w.client, "GET", "/large?size=5001", NULL);
    assert_int_equal(r->code, ERR_LIMIT);
    assert_non_null(strstr(r->text, "maxResponse"));
    assert_int_equal(ask(&w.client, "GET", "/large?size=5000", NULL)->n, 5000);
    world_destroy(&w);
}

static void separate_responses_and_non_confirmable_requests(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        struct error err;
        world_echo(&w, schemes[i], NULL);
        struct record *r = ask(&w.client, "GET", "/slow?ms=60", NULL);
        assert_int_equal(r->status, 205);
        assert_string_equal((char *)r->payload, "slow");
        unsigned before = w.client.responses.n;
        assert_int_equal(ask_with(&w.client, "POST", "/echo", "x", 1, NULL, 0, "{\"confirmable\": false}", 3, &err), 0);
        WAIT(&w, w.client.responses.n > before);
        assert_int_equal(w.client.responses.at[before].status, 204);
        world_destroy(&w);
    }
}

static void publishes_are_acknowledged(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        struct error err;
        world_echo(&w, schemes[i], "{\"publish\": {\"method\": \"PUT\", \"contentFormat\": \"application/json\"}}");
        struct client *cl = &w.client;
        assert_int_equal(publish(cl, "t/1", "{}", 2, 1, 5, &err), 0);
        assert_int_equal(OPS->pending(cl->conn), 1);
        WAIT(&w, cl->done.n == 1);
        assert_false(cl->done.at[0].failed);
        assert_int_equal(cl->done.at[0].token, 5);
        assert_int_equal(OPS->pending(cl->conn), 0);
        struct record *r = ask(cl, "GET", "/t/1", NULL);
        assert_string_equal((char *)r->payload, "{}");
        assert_non_null(strstr(r->headers, "Content-Format=application/json;"));
        assert_int_equal(publish(cl, "t/1", "{1}", 3, 0, 6, &err), 0);
        WAIT(&w, counter(&w, "responses{status:2xx}") == 3);
        assert_string_equal((char *)ask(cl, "GET", "/t/1", NULL)->payload, "{1}");
        assert_int_equal(cl->done.n, 1);
        assert_int_equal(counter(&w, "messages_sent"), 2);
        assert_int_equal(counter(&w, "messages_acked"), 1);
        // What the server refuses is told with its code.
        char *big = calloc(1, 3000);
        assert_int_equal(publish(cl, "large", big, 3000, 1, 7, &err), 0);
        WAIT(&w, cl->done.n == 2);
        assert_int_equal(cl->done.at[1].code, ERR_REFUSED);
        assert_non_null(strstr(cl->done.at[1].text, "4.05"));
        free(big);
        world_destroy(&w);
    }
}

static void resources_are_observed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        struct error err;
        world_echo(&w, schemes[i], NULL);
        struct client *cl = &w.client;
        ask(cl, "PUT", "/state", "one");
        assert_int_equal(OPS->subscribe(cl->conn, "state", 1, 11, &err), 0);
        WAIT(&w, cl->done.n == 1 && cl->messages.n == 1);
        assert_false(cl->done.at[0].failed);
        assert_string_equal((char *)cl->messages.at[0].payload, "one");
        assert_string_equal(cl->messages.at[0].text, "state");
        ask(cl, "PUT", "/state", "two");
        WAIT(&w, cl->messages.n == 2);
        assert_string_equal((char *)cl->messages.at[1].payload, "two");
        // A large notification comes in blocks.
        char *big = malloc(5001);
        memset(big, 'z', 5000);
        big[5000] = '\0';
        ask(cl, "PUT", "/state", big);
        WAIT(&w, cl->messages.n == 3);
        assert_int_equal(cl->messages.at[2].n, 5000);
        free(big);
        // Three PUTs and the subscription; notifications are no answers of their own.
        WAIT(&w, counter(&w, "responses{status:2xx}") == 4);
        assert_int_equal(OPS->unsubscribe(cl->conn, "state", 12, &err), 0);
        WAIT(&w, cl->done.n == 2);
        assert_int_equal(cl->done.at[1].token, 12);
        ask(cl, "PUT", "/state", "three");
        SETTLE(&w);
        assert_int_equal(cl->messages.n, 3);
        // Not observable, not there.
        assert_int_equal(OPS->subscribe(cl->conn, "echo", 1, 13, &err), 0);
        assert_int_equal(OPS->subscribe(cl->conn, "nothing", 1, 14, &err), 0);
        WAIT(&w, cl->done.n == 4);
        assert_int_equal(cl->done.at[2].code, ERR_REFUSED);
        assert_non_null(strstr(cl->done.at[2].text, "cannot be observed"));
        assert_non_null(strstr(cl->done.at[3].text, "4.04"));
        world_destroy(&w);
    }
}

static void observations_are_requests_too(void **state)
{
    struct world w;
    struct error err;
    (void)state;
    world_echo(&w, "coap", NULL);
    struct client *cl = &w.client;
    ask(cl, "PUT", "/state", "one");
    unsigned before = cl->responses.n;
    assert_int_equal(ask_with(cl, "OBSERVE", "/state", NULL, 0, NULL, 0, NULL, 77, &err), 0);
    WAIT(&w, cl->responses.n == before + 1);
    assert_true(cl->responses.at[before].more);
    ask(cl, "PUT", "/state", "two");
    WAIT(&w, cl->responses.n == before + 3);
    OPS->request_cancel(cl->conn, 77);
    ask(cl, "PUT", "/state", "three");
    SETTLE(&w);
    assert_int_equal(cl->responses.n, before + 4);
    // A resource that cannot be observed answers once.
    assert_int_equal(ask_with(cl, "OBSERVE", "/echo?x", NULL, 0, NULL, 0, NULL, 78, &err), 0);
    WAIT(&w, cl->responses.n == before + 5);
    assert_false(cl->responses.at[before + 4].more);
    // An observed resource that goes ends its observation with its status.
    assert_int_equal(ask_with(cl, "OBSERVE", "/state", NULL, 0, NULL, 0, NULL, 79, &err), 0);
    WAIT(&w, cl->responses.n == before + 6);
    ask(cl, "DELETE", "/state", NULL);
    WAIT(&w, cl->responses.n == before + 8);
    world_destroy(&w);
}

static void headers_are_options(void **state)
{
    struct world w;
    struct error err;
    (void)state;
    world_echo(&w, "coap", NULL);
    struct client *cl = &w.client;
    static const struct adapter_property good[] = {{"Content-Format", 14, "application/cbor", 16},
                                                   {"etag", 4, "0x0102ff", 8}};
    assert_int_equal(ask_with(cl, "POST", "/echo", "x", 1, good, 2, NULL, 1, &err), 0);
    WAIT(&w, cl->responses.n == 1);
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
    world_destroy(&w);
}

static void bad_requests_are_refused_at_once(void **state)
{
    struct world w;
    struct error err;
    (void)state;
    world_echo(&w, "coap", NULL);
    struct client *cl = &w.client;
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
    assert_int_equal(ask_with(cl, "GET", long_path, NULL, 0, NULL, 0, NULL, 1, &err), -1);
    assert_non_null(strstr(err.text, "255"));
    assert_int_equal(OPS->subscribe(cl->conn, "a/+/b", 1, 1, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_int_equal(OPS->unsubscribe(cl->conn, "a", 1, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    struct adapter_meta meta = {.response_topic = "x", .response_topic_len = 1};
    struct adapter_message m = {.topic = "t", .topic_len = 1, .meta = &meta};
    assert_int_equal(OPS->publish(cl->conn, &m, 0, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    SETTLE(&w);
    assert_int_equal(cl->responses.n, 0);
    world_destroy(&w);
}

static void many_requests_wait_for_their_turn(void **state)
{
    struct world w;
    struct error err;
    (void)state;
    world_echo(&w, "coap", "{\"queueMax\": 20, \"nstart\": 2}");
    struct client *cl = &w.client;
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(ask_with(cl, "GET", "/echo?x", NULL, 0, NULL, 0, NULL, i + 1, &err), 0);
    assert_int_equal(ask_with(cl, "GET", "/echo?x", NULL, 0, NULL, 0, NULL, 99, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.text, "queueMax"));
    WAIT(&w, cl->responses.n == 20);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(cl->responses.at[i].token, i + 1);
    world_destroy(&w);
}

static void it_closes_and_opens_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        struct error err;
        world_echo(&w, schemes[i], NULL);
        struct client *cl = &w.client;
        assert_int_equal(OPS->conn_open(cl->conn, &err), -1);
        assert_int_equal(err.code, ERR_STATE);
        assert_int_equal(ask_with(cl, "GET", "/slow?ms=3000", NULL, 0, NULL, 0, NULL, 1, &err), 0);
        OPS->conn_close(cl->conn, ADAPTER_GRACEFUL);
        assert_int_equal(cl->offline, 0);
        WAIT(&w, cl->offline == 1);
        assert_int_equal(cl->why.code, ERR_NONE);
        assert_int_equal(cl->responses.at[0].code, ERR_CANCELLED);
        assert_int_equal(ask_with(cl, "GET", "/echo", NULL, 0, NULL, 0, NULL, 1, &err), -1);
        assert_int_equal(err.code, ERR_STATE);
        client_connect(&w, cl);
        assert_int_equal(ask(cl, "GET", "/echo", NULL)->status, 205);
        assert_int_equal(counter(&w, "reconnects"), 1);
        world_destroy(&w);
    }
}

static void delete_me(struct client *cl, const struct record *r)
{
    (void)r;
    OPS->conn_delete(cl->conn);
    cl->conn = NULL;
}

static void a_connection_may_be_deleted_inside_its_events(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct world w;
        struct error err;
        world_echo(&w, schemes[i], NULL);
        w.client.on_response = delete_me;
        assert_int_equal(ask_with(&w.client, "GET", "/echo", NULL, 0, NULL, 0, NULL, 1, &err), 0);
        assert_int_equal(ask_with(&w.client, "GET", "/large", NULL, 0, NULL, 0, NULL, 2, &err), 0);
        WAIT(&w, w.client.responses.n == 1);
        SETTLE(&w);
        assert_int_equal(w.client.responses.n, 1);
        records_clear(&w.client.responses);
        world_destroy(&w);
    }
}

static void many_connections_share_contexts(void **state)
{
    enum { N = 1200 };
    struct world w;
    struct error err;
    (void)state;
    world_echo(&w, "coap", NULL);
    struct client *all = calloc(N, sizeof *all);
    for (unsigned i = 0; i < N; i++) {
        client_create(&w, &all[i]);
        assert_int_equal(OPS->conn_open(all[i].conn, &err), 0);
    }
    for (unsigned i = 0; i < N; i++)
        WAIT(&w, all[i].online == 1);
    for (unsigned from = 0; from < N; from += 100) { // more at once do not fit in the server's receive buffer
        for (unsigned i = from; i < from + 100; i++)
            assert_int_equal(ask_with(&all[i], "GET", "/echo?a", NULL, 0, NULL, 0, NULL, i + 1, &err), 0);
        for (unsigned i = from; i < from + 100; i++) {
            WAIT(&w, all[i].responses.n == 1);
            assert_int_equal(all[i].responses.at[0].status, 205);
            assert_true(OPS->footprint(all[i].conn) < 4096);
        }
    }
    for (unsigned i = 0; i < N; i++)
        client_destroy(&all[i]);
    free(all);
    world_destroy(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_gets_its_answer),
        cmocka_unit_test(bodies_travel_in_blocks),
        cmocka_unit_test(a_megabyte_is_fetched),
        cmocka_unit_test(small_blocks_are_negotiated),
        cmocka_unit_test(an_answer_larger_than_allowed_is_an_error),
        cmocka_unit_test(separate_responses_and_non_confirmable_requests),
        cmocka_unit_test(publishes_are_acknowledged),
        cmocka_unit_test(resources_are_observed),
        cmocka_unit_test(observations_are_requests_too),
        cmocka_unit_test(headers_are_options),
        cmocka_unit_test(bad_requests_are_refused_at_once),
        cmocka_unit_test(many_requests_wait_for_their_turn),
        cmocka_unit_test(it_closes_and_opens_again),
        cmocka_unit_test(a_connection_may_be_deleted_inside_its_events),
        cmocka_unit_test(many_connections_share_contexts),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
