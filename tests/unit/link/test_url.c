#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include "link/url.h"

static void good_urls(void **state)
{
    (void)state;
    static const struct {
        const char *text, *scheme, *host, *user, *password, *path, *display;
        uint16_t port;
    } cases[] = {
        {"mqtt://h", "mqtt", "h", "", "", "", "mqtt://h:1883", 1883},
        {"MQTTS://H.example", "mqtts", "H.example", "", "", "", "mqtts://H.example:8883", 8883},
        {"h", "mqtt", "h", "", "", "", "mqtt://h:1883", 1883},
        {"10.0.0.1:99", "mqtt", "10.0.0.1", "", "", "", "mqtt://10.0.0.1:99", 99},
        {"[::1]:77", "mqtt", "::1", "", "", "", "mqtt://[::1]:77", 77},
        {"mqtt://[fe80::1%25eth0]", "mqtt", "fe80::1%25eth0", "", "", "", "mqtt://[fe80::1%25eth0]:1883", 1883},
        {"http://h/a?b#c", "http", "h", "", "", "/a?b#c", "http://h:80/a?***", 80},
        {"wss://u:p@h:1/x", "wss", "h", "u", "p", "/x", "wss://h:1/x", 1},
        {"mqtt://a%40b:c%3a%2F@h", "mqtt", "h", "a@b", "c:/", "", "mqtt://h:1883", 1883},
        {"mqtt://u@v:p@h", "mqtt", "h", "u@v", "p", "", "mqtt://h:1883", 1883}, // the last @ counts
        {"mqtt://u:p:q@h", "mqtt", "h", "u", "p:q", "", "mqtt://h:1883", 1883},
        {"x+y-z.1://h:5", "x+y-z.1", "h", "", "", "", "x+y-z.1://h:5", 5},
        {"ws://h/mqtt?sig=SECRET", "ws", "h", "", "", "/mqtt?sig=SECRET", "ws://h:80/mqtt?***", 80},
        {"coaps://h:65535/%zz", "coaps", "h", "", "", "/%zz", "coaps://h:65535/%zz", 65535}, // the path is kept
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct url u;
        struct error err;
        char shown[700];
        error_clear(&err);
        if (url_parse(cases[i].text, "mqtt", &u, &err) < 0)
            fail_msg("%s", err.text);
        assert_string_equal(u.scheme, cases[i].scheme);
        assert_string_equal(u.host, cases[i].host);
        assert_string_equal(u.user, cases[i].user);
        assert_string_equal(u.password, cases[i].password);
        assert_string_equal(u.path, cases[i].path);
        assert_int_equal(u.port, cases[i].port);
        assert_string_equal(url_display(&u, shown, sizeof shown), cases[i].display);
    }
}

static void bad_urls(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "empty URL"},
        {"mqtt://", "no host"},
        {"://h", "no scheme"},
        {"mqtt://:1883", "no host"},
        {"mqtt://h:0", "1 to 65535"},
        {"mqtt://h:65536", "1 to 65535"},
        {"mqtt://h:", "1 to 65535"},
        {"mqtt://h:1x", "1 to 65535"},
        {"mqtt://h:+1", "1 to 65535"},
        {"h h", "position 2"},
        {"mqtt://h\n", "position 9"},
        {"mqtt://\x7fh", "control character"},
        {"::1", "brackets"},
        {"[::1", "[IPv6 address]"},
        {"[::1]x", "[IPv6 address]"},
        {"[h]", "not an IPv6"},
        {"mqtt://h\xc3\xa9", "host"},
        {"mqtt://a%@h", "hex digits"},
        {"mqtt://a%4@h", "hex"},
        {"mqtt://a:%00@h", "%00"},
        {"mqtt://h?x", "expected /"},
        {"foo://h", "default port"},
        {"1a://h:1", "not a scheme"},
        {"m qtt://h", "position"},
        {"averyveryverylongscheme://h", "longer"},
        {"mqtt://h,i", "host"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct url u;
        struct error err;
        assert_int_equal(url_parse(cases[i].text, "mqtt", &u, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
        if (!strstr(err.text, cases[i].says))
            fail_msg("%s: %s", cases[i].text, err.text);
    }
    char longest[700];
    struct url u;
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(url_parse(longest, "mqtt", &u, NULL), -1);
    memcpy(longest, "h/", 2);
    assert_int_equal(url_parse(longest, "mqtt", &u, NULL), -1);
    memcpy(longest, "aa", 2);
    longest[650] = '@';
    assert_int_equal(url_parse(longest, "mqtt", &u, NULL), -1);
}

static void no_error_shows_a_password(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "mqtt://user:hunter2@",   "mqtt://user:hunter2@h:99999",
        "user:hunter2@h:0",       "mqtt://user:hun/ter2@h",
        "mqtt://user:hunter2/@h", "mqtt://user:hunter2?@h",
        "us er:hunter2@h",        "mqtt://user:hunter2@h h",
        "user:hunter2://x@h",     "mqtt://user:hunter2%zz@h",
        "foo://user:hunter2@h",   "mqtt://[user:hunter2]@[x]",
        "mqtt://[hunter2]/@h",    "averyverylongscheme://user:hunter2@h",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct url u;
        struct error err = {0};
        assert_int_equal(url_parse(broken[i], "mqtt", &u, &err), -1);
        if (strstr(err.text, "hunter2") || strstr(err.text, "ter2") || !strstr(err.text, "***@"))
            fail_msg("%s: %s", broken[i], err.text);
    }
    char shown[64], longer[600];
    assert_string_equal(url_redact("mqtt://u:p@h:1/x", shown, sizeof shown), "mqtt://***@h:1/x");
    assert_string_equal(url_redact("mqtt://h:1/x", shown, sizeof shown), "mqtt://h:1/x");
    assert_string_equal(url_redact("u:p@h", shown, sizeof shown), "***@h");
    assert_string_equal(url_redact("ws://u:p@h/x?token=1", shown, sizeof shown), "ws://***@h/x?***");
    assert_string_equal(url_redact("ws://h/?a@b", shown, sizeof shown),
                        "ws://***@b"); // rather too much than too little
    memset(longer, 'p', sizeof longer);
    memcpy(longer + sizeof longer - 6, "@h:0x", 6);
    struct url u;
    struct error err = {0};
    assert_int_equal(url_parse(longer, "mqtt", &u, &err), -1);
    assert_null(strstr(err.text, "ppp"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(good_urls), cmocka_unit_test(bad_urls),
                                       cmocka_unit_test(no_error_shows_a_password)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
