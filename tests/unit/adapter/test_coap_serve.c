// What a device serves over CoAP: asked, observed, in blocks and discovered by another device, and registered with a
// resource directory.
#include "coap_harness.h"

struct pair {
    struct world w; // its client is the device that serves
    struct client asker;
    struct adapter_target *target; // of the asker
};

static void reply(struct client *cl, uint64_t ticket, unsigned status, const void *payload, size_t n)
{
    struct error err;
    struct adapter_response r = {.status = status, .payload = payload, .payload_len = n};
    if (OPS->respond(cl->conn, ticket, &r, &err))
        print_message("respond: %s\n", err.text);
}

static void echo_request(struct client *cl, const struct record *r)
{
    reply(cl, r->ticket, 0, r->n ? (const void *)r->payload : r->text, r->n ? r->n : strlen(r->text));
}

static char *served_at(struct client *cl, char *dst, size_t size)
{
    struct buf out;
    struct error err;
    buf_create(&out, 200);
    int rc = OPS->served_at(cl->conn, &out, &err);
    if (rc)
        print_message("served_at: %s\n", err.text);
    assert_int_equal(rc, 0);
    snprintf(dst, size, "%s", buf_cstr(&out));
    buf_destroy(&out);
    return dst;
}

static void serve(struct client *cl, const char *path, const char *attributes)
{
    struct error err;
    json_t *a = attributes ? json_loads(attributes, 0, NULL) : NULL;
    int rc = OPS->serve(cl->conn, path, a, &err);
    if (rc)
        print_message("serve: %s\n", err.text);
    assert_int_equal(rc, 0);
    json_decref(a);
}

static void pair_create(struct pair *p, const char *scheme, const char *options)
{
    char url[80];
    memset(p, 0, sizeof *p);
    world_echo(&p->w, scheme, options);
    p->w.client.on_request = echo_request;
    serve(&p->w.client, "/temp", "{\"observable\": true, \"rt\": \"temperature\", \"ct\": \"application/json\"}");
    serve(&p->w.client, "/big/*", NULL);
    p->target = make_target(&p->w, served_at(&p->w.client, url, sizeof url), NULL);
    p->asker.world = &p->w;
    memcpy(p->asker.fields, p->w.client.fields, sizeof p->asker.fields);
    struct error err;
    assert_non_null(p->asker.conn = OPS->conn_new(p->target, &events, &identity, &p->asker, 5, &err));
    client_connect(&p->w, &p->asker);
}

static void pair_destroy(struct pair *p)
{
    client_destroy(&p->asker);
    OPS->target_delete(p->target);
    world_destroy(&p->w);
}

static const char *const schemes[] = {"coap", "coap+tcp", "coaps", "coaps+tcp"};

static void requests_reach_the_device_and_answers_the_client(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct pair p;
        pair_create(&p, schemes[i], NULL);
        struct record *r = ask(&p.asker, "GET", "/temp?unit=c", NULL);
        assert_int_equal(r->status, 205);
        assert_string_equal((char *)r->payload, "GET /temp?unit=c");
        r = ask(&p.asker, "PUT", "/temp", "21");
        assert_int_equal(r->status, 204);
        assert_string_equal((char *)r->payload, "21");
        assert_int_equal(ask(&p.asker, "DELETE", "/temp", NULL)->status, 202);
        assert_string_equal((char *)ask(&p.asker, "GET", "/big/a%2Fb/c", NULL)->payload, "GET /big/a%2Fb/c");
        assert_int_equal(ask(&p.asker, "GET", "/nothing", NULL)->status, 404);
        assert_int_equal(counter(&p.w, "requests_served"), 5);
        pair_destroy(&p);
    }
}

static void ignore(struct client *cl, const struct record *r)
{
    (void)cl, (void)r;
}

static void an_answer_may_come_later(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct pair p;
        struct error err;
        struct adapter_response r = {.status = 205};
        pair_create(&p, schemes[i], "{\"serve\": {\"timeout\": \"400ms\"}}");
        struct client *dev = &p.w.client;
        dev->on_request = ignore;
        assert_int_equal(ask_with(&p.asker, "GET", "/temp", NULL, 0, NULL, 0, NULL, 1, &err), 0);
        WAIT(&p.w, dev->requests.n == 1);
        SETTLE(&p.w);
        assert_int_equal(p.asker.responses.n, 0);
        reply(dev, dev->requests.at[0].ticket, 205, "late", 4);
        WAIT(&p.w, p.asker.responses.n == 1);
        assert_string_equal((char *)p.asker.responses.at[0].payload, "late");
        // Once only, and not for ever.
        assert_int_equal(OPS->respond(dev->conn, dev->requests.at[0].ticket, &r, &err), -1);
        assert_int_equal(err.code, ERR_NOT_FOUND);
        struct record *late = ask(&p.asker, "GET", "/temp", NULL);
        assert_int_equal(late->status, 503);
        assert_int_equal(OPS->respond(dev->conn, dev->requests.at[1].ticket, &r, &err), -1);
        pair_destroy(&p);
    }
}

static void respond_checks_what_it_is_given(void **state)
{
    struct pair p;
    struct error err;
    (void)state;
    pair_create(&p, "coap", NULL);
    struct client *dev = &p.w.client;
    dev->on_request = ignore;
    assert_int_equal(ask_with(&p.asker, "GET", "/temp", NULL, 0, NULL, 0, NULL, 1, &err), 0);
    WAIT(&p.w, dev->requests.n == 1);
    uint64_t ticket = dev->requests.at[0].ticket;
    struct adapter_property h = {"Accept", 6, "50", 2};
    struct adapter_response bad = {.status = 999};
    assert_int_equal(OPS->respond(dev->conn, ticket, &bad, &err), -1);
    assert_non_null(strstr(err.text, "999"));
    bad = (struct adapter_response){.status = 205, .headers = &h, .n_headers = 1};
    assert_int_equal(OPS->respond(dev->conn, ticket, &bad, &err), -1);
    assert_non_null(strstr(err.text, "belongs in a request"));
    static const struct adapter_property good[] = {{"Content-Format", 14, "application/json", 16},
                                                   {"Max-Age", 7, "5", 1}};
    struct adapter_response r = {
        .status = 200, .headers = good, .n_headers = 2, .payload = (const uint8_t *)"{}", .payload_len = 2};
    assert_int_equal(OPS->respond(dev->conn, ticket, &r, &err), 0);
    WAIT(&p.w, p.asker.responses.n == 1);
    assert_int_equal(p.asker.responses.at[0].status, 205);
    assert_string_equal(p.asker.responses.at[0].headers, "Content-Format=application/json;Max-Age=5;");
    pair_destroy(&p);
}

static void bodies_of_both_directions_come_in_blocks(void **state)
{
    static const size_t sizes[] = {1024, 1025, 5000, 200000};
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct pair p;
        struct error err;
        pair_create(&p, schemes[i], NULL);
        for (unsigned k = 0; k < 4; k++) {
            uint8_t *body = malloc(sizes[k]);
            for (size_t b = 0; b < sizes[k]; b++)
                body[b] = (uint8_t)(b * 3 + b / 256);
            unsigned before = p.asker.responses.n;
            assert_int_equal(ask_with(&p.asker, "POST", "/big/x", body, sizes[k], NULL, 0, NULL, 1, &err), 0);
            WAIT(&p.w, p.asker.responses.n > before);
            struct record *r = &p.asker.responses.at[before];
            if (r->failed)
                print_message("%s %zu: %s\n", schemes[i], sizes[k], r->text);
            assert_int_equal(r->status, 204);
            assert_int_equal(r->n, sizes[k]);
            assert_memory_equal(r->payload, body, sizes[k]);
            assert_int_equal(p.w.client.requests.n, k + 1); // the owner sees one request, not its blocks
            free(body);
        }
        pair_destroy(&p);
    }
}

static void clients_observe(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct pair p;
        struct error err;
        pair_create(&p, schemes[i], NULL);
        struct client *dev = &p.w.client;
        assert_int_equal(OPS->subscribe(p.asker.conn, "temp", 1, 1, &err), 0);
        WAIT(&p.w, p.asker.messages.n == 1);
        for (unsigned k = 2; k <= 12; k++) {
            assert_int_equal(OPS->notify(dev->conn, "/temp", &err), 0);
            WAIT(&p.w, p.asker.messages.n == k);
        }
        // Several changes in one turn are one notification: the newest state.
        OPS->notify(dev->conn, "/temp", &err);
        OPS->notify(dev->conn, "/temp", &err);
        WAIT(&p.w, p.asker.messages.n == 13);
        SETTLE(&p.w);
        assert_int_equal(p.asker.messages.n, 13);
        // Some of them are confirmable (RFC 7641, 4.5).
        unsigned confirmed = 0;
        for (unsigned k = 1; k < 13; k++)
            confirmed += p.asker.messages.at[k].qos == 1;
        assert_true(confirmed >= (i == 2 ? 1 : 2)); // over DTLS less often
        assert_int_equal(OPS->unsubscribe(p.asker.conn, "temp", 2, &err), 0);
        WAIT(&p.w, p.asker.done.n == 2);
        unsigned asked = dev->requests.n;
        OPS->notify(dev->conn, "/temp", &err);
        SETTLE(&p.w);
        assert_int_equal(dev->requests.n, asked); // nobody is left to tell
        assert_int_equal(OPS->notify(dev->conn, "/big", &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
        assert_int_equal(OPS->notify(dev->conn, "/none", &err), -1);
        assert_int_equal(err.code, ERR_NOT_FOUND);
        pair_destroy(&p);
    }
}

static void receive(struct world *w, int fd, uint8_t *b, size_t size)
{
    ssize_t n = -1;
    WAIT(w, n > 0 || (n = recv(fd, b, size, MSG_DONTWAIT)) > 0);
}

static void a_client_that_resets_observes_no_more(void **state)
{
    (void)state;
    struct pair p;
    struct error err;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char url[80];
    unsigned port;
    uint8_t b[200];
    pair_create(&p, "coap", NULL);
    struct client *dev = &p.w.client;
    served_at(dev, url, sizeof url);
    assert_int_equal(sscanf(url, "coap://127.0.0.1:%u", &port), 1);
    at.sin_port = htons((uint16_t)port);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    static const uint8_t observe[] = {0x41, 1, 0x12, 0x34, 0x99, 0x60, 0x54, 't', 'e', 'm', 'p'};
    for (int twice = 0; twice < 2; twice++) { // the copy of a request is answered alike and not served again (4.5)
        assert_true(send(fd, observe, sizeof observe, 0) > 0);
        receive(&p.w, fd, b, sizeof b);
        assert_int_equal(b[0], 0x61);
        assert_int_equal(b[1], 0x45);
        assert_int_equal(b[5] >> 4, 6); // Observe
        assert_int_equal(dev->requests.n, 1);
    }
    assert_int_equal(counter(&p.w, "coap_duplicates"), 1);
    assert_int_equal(OPS->notify(dev->conn, "temp", &err), 0);
    receive(&p.w, fd, b, sizeof b);
    assert_int_equal(b[0], 0x51); // NON
    uint8_t reset[] = {0x70, 0, b[2], b[3]};
    assert_true(send(fd, reset, 4, 0) == 4);
    WAIT(&p.w, counter(&p.w, "coap_resets") == 1);
    OPS->notify(dev->conn, "temp", &err);
    SETTLE(&p.w);
    assert_int_equal(dev->requests.n, 2);
    // An unknown critical option is 4.02, a broken message reset or ignored, a bad Block1 sequence 4.08.
    static const uint8_t critical[] = {0x40, 1, 0x12, 0x35, 0xb4, 't', 'e', 'm', 'p', 0xe1, 0x26, 0x01, 'x'};
    assert_true(send(fd, critical, sizeof critical, 0) > 0);
    receive(&p.w, fd, b, sizeof b);
    assert_int_equal(b[1], 0x82);
    static const uint8_t block[] = {0x40, 3, 0x12, 0x36, 0xb4, 't', 'e', 'm', 'p', 0xd1, 3, 0x10, 0xff, 'x'};
    assert_true(send(fd, block, sizeof block, 0) > 0);
    receive(&p.w, fd, b, sizeof b);
    assert_int_equal(b[1], 0x88);
    static const uint8_t broken[] = {0x4f, 1, 0, 0};
    assert_true(send(fd, broken, sizeof broken, 0) > 0);
    SETTLE(&p.w);
    assert_int_equal(ask(&p.asker, "GET", "/temp", NULL)->status, 205);
    close(fd);
    pair_destroy(&p);
}

static void what_is_served_is_discovered(void **state)
{
    struct pair p;
    (void)state;
    pair_create(&p, "coap", NULL);
    struct record *r = ask(&p.asker, "GET", "/.well-known/core", NULL);
    assert_string_equal((char *)r->payload, "</temp>;rt=\"temperature\";ct=50;obs,</big>");
    assert_non_null(strstr(r->headers, "Content-Format=application/link-format;"));
    assert_string_equal((char *)ask(&p.asker, "GET", "/.well-known/core?rt=temp*", NULL)->payload,
                        "</temp>;rt=\"temperature\";ct=50;obs");
    assert_int_equal(ask(&p.asker, "GET", "/.well-known/core?rt=none", NULL)->n, 0);
    assert_string_equal((char *)ask(&p.asker, "GET", "/.well-known/core?href=/big", NULL)->payload, "</big>");
    assert_int_equal(ask(&p.asker, "PUT", "/.well-known/core", "x")->status, 405);
    for (int i = 0; i < 40; i++) { // too long for one message
        char path[40];
        snprintf(path, sizeof path, "/a-rather-long-path-of-number-%d", i);
        serve(&p.w.client, path, NULL);
    }
    r = ask(&p.asker, "GET", "/.well-known/core", NULL);
    assert_true(r->n > 1200);
    assert_non_null(strstr((char *)r->payload, "number-39>"));
    pair_destroy(&p);
}

static void serving_is_checked_and_capped(void **state)
{
    static const struct {
        const char *path, *attributes, *word;
    } bad[] = {{"/a?b", NULL, "none of ?"},
               {"/a", "{\"observabel\": true}", "did you mean"},
               {"/a", "{\"observable\": 1}", "true or false"},
               {"/a", "{\"rt\": \"a\\\"b\"}", "without quotes"},
               {"/a", "{\"ct\": \"x/y\"}", "media type"}};
    struct world w;
    struct error err;
    struct buf out;
    (void)state;
    world_echo(&w, "coap", NULL);
    buf_create(&out, 100);
    assert_int_equal(OPS->served_at(w.client.conn, &out, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *a = bad[i].attributes ? json_loads(bad[i].attributes, 0, NULL) : NULL;
        assert_int_equal(OPS->serve(w.client.conn, bad[i].path, a, &err), -1);
        if (!strstr(err.text, bad[i].word))
            print_message("%s\n", err.text);
        assert_non_null(strstr(err.text, bad[i].word));
        json_decref(a);
    }
    for (int i = 0; i < 65; i++) {
        char path[16];
        snprintf(path, sizeof path, "/p%d", i);
        assert_int_equal(OPS->serve(w.client.conn, path, NULL, &err), i < 64 ? 0 : -1);
    }
    assert_int_equal(err.code, ERR_LIMIT);
    OPS->unserve(w.client.conn, "/p3");
    assert_int_equal(OPS->serve(w.client.conn, "/p64", NULL, &err), 0);
    world_destroy(&w);
}

static void delete_me(struct client *cl, const struct record *r)
{
    (void)r;
    OPS->conn_delete(cl->conn);
    cl->conn = NULL;
}

static void the_device_may_go_inside_a_request(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct pair p;
        struct error err;
        pair_create(&p, schemes[i], NULL);
        p.w.client.on_request = delete_me;
        assert_int_equal(ask_with(&p.asker, "GET", "/temp", NULL, 0, NULL, 0, NULL, 1, &err), 0);
        WAIT(&p.w, p.w.client.requests.n == 1);
        SETTLE(&p.w);
        records_clear(&p.w.client.requests);
        pair_destroy(&p);
    }
}

static void the_endpoint_closes_with_the_device(void **state)
{
    struct pair p;
    char before[80], after[80];
    (void)state;
    pair_create(&p, "coap", NULL);
    struct client *dev = &p.w.client;
    served_at(dev, before, sizeof before);
    OPS->conn_close(dev->conn, ADAPTER_GRACEFUL);
    WAIT(&p.w, dev->offline == 1);
    struct record *r = ask(&p.asker, "GET", "/temp", NULL);
    assert_int_equal(r->code, ERR_REFUSED);
    client_connect(&p.w, dev);
    served_at(dev, after, sizeof after);
    assert_string_not_equal(before, after);
    pair_destroy(&p);
}

static void a_directory_knows_what_is_served(void **state)
{
    static const char *const options[] = {
        "{\"resourceDirectory\": {\"url\": \"/rd\", \"lifetime\": \"1s\", \"sector\": \"lab\", \"endpoint\": "
        "\"x-${deviceId}\"}}",
        "{\"resourceDirectory\": {\"lifetime\": \"1s\"}}"}; // found through /.well-known/core
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct world w;
        struct error err;
        char url[64];
        world_echo(&w, "coap", options[i]);
        struct client other = {.world = &w};
        snprintf(url, sizeof url, "coap://127.0.0.1:%u", w.port);
        struct adapter_target *t = make_target(&w, url, NULL);
        assert_non_null(other.conn = OPS->conn_new(t, &events, &identity, &other, 6, &err));
        client_connect(&w, &other);
        serve(&w.client, "/temp", "{\"rt\": \"temperature\"}");
        WAIT(&w, strstr((char *)ask(&other, "GET", "/rd", NULL)->payload, "</temp>;rt=\"temperature\"") != NULL);
        serve(&w.client, "/more", NULL);
        WAIT(&w, strstr((char *)ask(&other, "GET", "/rd", NULL)->payload, "</more>") != NULL);
        uint64_t served = counter(&w, "bytes_sent");
        WAIT(&w, counter(&w, "bytes_sent") > served); // refreshed before its lifetime ends
        records_clear(&other.responses);
        OPS->conn_close(w.client.conn, ADAPTER_GRACEFUL);
        WAIT(&w, w.client.offline == 1);
        client_destroy(&other);
        OPS->target_delete(t);
        world_destroy(&w);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_reach_the_device_and_answers_the_client),
        cmocka_unit_test(an_answer_may_come_later),
        cmocka_unit_test(respond_checks_what_it_is_given),
        cmocka_unit_test(bodies_of_both_directions_come_in_blocks),
        cmocka_unit_test(clients_observe),
        cmocka_unit_test(a_client_that_resets_observes_no_more),
        cmocka_unit_test(what_is_served_is_discovered),
        cmocka_unit_test(serving_is_checked_and_capped),
        cmocka_unit_test(the_device_may_go_inside_a_request),
        cmocka_unit_test(the_endpoint_closes_with_the_device),
        cmocka_unit_test(a_directory_knows_what_is_served),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
