// Source addresses: what is accepted, whose turn it is, what is checked.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "link/source.h"

static struct link_addr v4(const char *text)
{
    struct link_addr a = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)&a.addr;
    in->sin_family = AF_INET;
    assert_int_equal(inet_pton(AF_INET, text, &in->sin_addr), 1);
    return a;
}

static struct link_addr v6(const char *text)
{
    struct link_addr a = {.len = sizeof(struct sockaddr_in6)};
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)&a.addr;
    in->sin6_family = AF_INET6;
    assert_int_equal(inet_pton(AF_INET6, text, &in->sin6_addr), 1);
    return a;
}

static struct sources *make(const char *json, uint64_t seed, struct error *err)
{
    json_t *o = json ? json_loads(json, JSON_DECODE_ANY, NULL) : NULL;
    struct sources *s = sources_new(o, seed, err);
    json_decref(o);
    return s;
}

static const char *next(struct sources *s, const struct link_addr *to, uint64_t open)
{
    static char text[INET6_ADDRSTRLEN];
    struct error err;
    const struct link_addr *a = sources_next(s, to, open, &err);
    if (!a)
        return err.code ? "error" : "kernel";
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&a->addr;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->addr;
    assert_int_equal(in4->sin_port, 0);
    inet_ntop(a->addr.ss_family, a->addr.ss_family == AF_INET ? (const void *)&in4->sin_addr : &in6->sin6_addr, text,
              sizeof text);
    return text;
}

static void automatic(void **state)
{
    (void)state;
    struct link_addr local = v4("127.0.0.1"), far = v4("192.0.2.1"), six = v6("::1");
    for (int i = 0; i < 2; i++) {
        struct sources *s = make(i ? "null" : NULL, 0, NULL);
        assert_non_null(s);
        assert_true(sources_automatic(s));
        assert_int_equal(sources_count(s), 0);
        assert_true(sources_have(s, AF_INET) && sources_have(s, AF_INET6));
        assert_string_equal(next(s, &local, 4095), "kernel");
        assert_string_equal(next(s, &local, 4096), "127.0.0.2");
        assert_string_equal(next(s, &local, 4097), "127.0.0.3");
        for (int k = 0; k < 27; k++)
            next(s, &local, 5000);
        assert_string_equal(next(s, &local, 5000), "127.0.0.31");
        assert_string_equal(next(s, &local, 5000), "127.0.0.2");
        assert_string_equal(next(s, &far, 50000), "kernel");
        assert_string_equal(next(s, &six, 50000), "kernel");
        sources_spread_above(s, 0);
        assert_string_equal(next(s, &local, 0), "127.0.0.3");
        sources_delete(s);
    }
    sources_delete(NULL);
}

static void in_turn(void **state)
{
    (void)state;
    struct link_addr to = v4("127.0.0.1"), six = v6("::1");
    struct error err;
    struct sources *s = make("\"127.0.0.7\"", 5, &err);
    assert_int_equal(sources_count(s), 1);
    assert_false(sources_automatic(s));
    assert_true(sources_have(s, AF_INET));
    assert_false(sources_have(s, AF_INET6));
    assert_string_equal(next(s, &to, 0), "127.0.0.7");
    assert_string_equal(next(s, &to, 0), "127.0.0.7");
    assert_string_equal(next(s, &six, 0), "error");
    sources_delete(s);
    s = make("[\"127.0.0.254-127.0.1.1\", \"127.9.0.1\", \"127.8.0.0/30\"]", 0, &err);
    static const char *const order[] = {"127.0.0.254", "127.0.0.255", "127.0.1.0", "127.0.1.1",
                                        "127.9.0.1",   "127.8.0.1",   "127.8.0.2", "127.0.0.254"};
    assert_int_equal(sources_count(s), 7);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        assert_string_equal(next(s, &to, 0), order[i]);
    sources_delete(s);
    s = make("[\"127.0.0.254-127.0.1.1\", \"127.9.0.1\"]", 14, &err); // the seed says where to begin
    assert_string_equal(next(s, &to, 0), "127.9.0.1");
    sources_delete(s);
}

static void networks(void **state)
{
    (void)state;
    struct link_addr to = v4("127.0.0.1");
    static const struct {
        const char *json;
        uint64_t count;
        const char *first;
    } cases[] = {
        {"\"127.0.0.0/24\"", 254, "127.0.0.1"},     {"\"127.3.2.99/24\"", 254, "127.3.2.1"},
        {"\"127.0.0.0/8\"", 16777214, "127.0.0.1"}, {"\"127.0.0.4/31\"", 2, "127.0.0.4"},
        {"\"127.0.0.4/32\"", 1, "127.0.0.4"},       {"\"127.0.0.5-127.0.0.5\"", 1, "127.0.0.5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        struct sources *s = make(cases[i].json, 0, &err);
        assert_string_equal(err.text, "");
        assert_int_equal(sources_count(s), cases[i].count);
        assert_string_equal(next(s, &to, 0), cases[i].first);
        sources_delete(s);
    }
    struct sources *s = make("\"127.0.0.0/8\"", 16777213, NULL);
    assert_string_equal(next(s, &to, 0), "127.255.255.254"); // the last
    assert_string_equal(next(s, &to, 0), "127.0.0.1");
    sources_delete(s);
}

static void addresses_of_version_6(void **state)
{
    (void)state;
    struct link_addr to = v6("::1"), four = v4("127.0.0.1");
    struct error err;
    struct sources *s = make("[\"::1\", \"127.0.0.3\"]", 0, &err);
    if (!s && err.code == ERR_NOT_FOUND)
        skip(); // a machine without IPv6
    assert_non_null(s);
    assert_int_equal(sources_count(s), 2);
    assert_string_equal(next(s, &to, 0), "::1");
    assert_string_equal(next(s, &four, 0), "127.0.0.3");
    assert_true(sources_have(s, AF_INET6));
    sources_delete(s);
    s = make("\"::1/128\"", 0, &err);
    assert_int_equal(sources_count(s), 1);
    sources_delete(s);
    assert_null(make("\"fd00::/64\"", 0, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "fd00::1 is no address of this machine"));
}

static void what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *text;
        enum error_code code;
    } cases[] = {
        {"5", "expected an address", ERR_INVALID},
        {"{}", "got an object", ERR_INVALID},
        {"[]", "the list is empty", ERR_INVALID},
        {"[[\"127.0.0.1\"]]", "got a list", ERR_INVALID},
        {"\"\"", "expected an address", ERR_INVALID},
        {"\"localhost\"", "source \"localhost\": expected an address (\"10.0.0.7\")", ERR_INVALID},
        {"\"127.0.0.1/33\"", "the prefix after / must be 0 to 32", ERR_INVALID},
        {"\"127.0.0.1/x\"", "the prefix after /", ERR_INVALID},
        {"\"::1/129\"", "must be 0 to 128", ERR_INVALID},
        {"\"127.0.0.5-127.0.0.4\"", "ends before it begins", ERR_INVALID},
        {"\"127.0.0.5-::1\"", "two addresses of one family", ERR_INVALID},
        {"\"127.0.0.5-\"", "two addresses of one family", ERR_INVALID},
        {"\"fe80::1%nosuchif\"", "expected an address", ERR_INVALID},
        {"\"192.0.2.77\"", "192.0.2.77 is no address of this machine; it has 127.0.0.1", ERR_NOT_FOUND},
        {"\"127.255.255.250-128.0.0.2\"", "128.0.0.2 is no address of this machine", ERR_NOT_FOUND},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        assert_null(make(cases[i].json, 0, &err));
        if (!strstr(err.text, cases[i].text) || err.code != cases[i].code)
            fail_msg("expected \"%s\" in \"%s\"", cases[i].text, err.text);
    }
    // Text of any length, lists of any length.
    json_t *list = json_array();
    char longer[300];
    memset(longer, '1', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    json_t *text = json_string(longer);
    struct error err;
    assert_null(sources_new(text, 0, &err));
    assert_int_equal(err.code, ERR_INVALID);
    json_decref(text);
    for (unsigned i = 0; i <= SOURCES_RANGES_MAX; i++)
        json_array_append_new(list, json_string("127.0.0.1"));
    assert_null(sources_new(list, 0, &err));
    assert_non_null(strstr(err.text, "at most 256 entries"));
    json_decref(list);
}

// More connections from a range of two than one pair of addresses has room for would need root and time; that each
// address is bound is seen by the server.
static void the_server_sees_them(void **state)
{
    (void)state;
    struct clock clock;
    struct link_addr to = v4("127.0.0.1");
    static const struct link_events events = {0};
    clock_create_real(&clock);
    struct loop *loop = loop_new(&clock, NULL);
    struct link_env *env = link_env_new(loop, NULL, NULL);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&to.addr, to.len), 0);
    assert_int_equal(listen(listener, 16), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&to.addr, &to.len), 0);
    struct sources *s = make("\"127.0.0.40-127.0.0.42\"", 1, NULL);
    for (int i = 0; i < 6; i++) {
        struct link link;
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        char text[INET_ADDRSTRLEN], expected[INET_ADDRSTRLEN];
        link_create(&link, env, &events);
        assert_int_equal(link_open(&link, &to, sources_next(s, &to, 0, NULL), NULL), 0);
        int fd = accept(listener, (struct sockaddr *)&from, &len);
        assert_true(fd >= 0);
        snprintf(expected, sizeof expected, "127.0.0.%d", 40 + (i + 1) % 3);
        assert_string_equal(inet_ntop(AF_INET, &from.sin_addr, text, sizeof text), expected);
        link_close(&link, LINK_ABORT);
        close(fd);
    }
    sources_delete(s);
    close(listener);
    link_env_delete(env);
    loop_delete(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(automatic),       cmocka_unit_test(in_turn),
        cmocka_unit_test(networks),        cmocka_unit_test(addresses_of_version_6),
        cmocka_unit_test(what_is_refused), cmocka_unit_test(the_server_sees_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
