// The JSON options of a CoAP target: what is refused, and that the words say what is valid.
#include "coap_harness.h"

static void options_are_checked(void **state)
{
    static const struct {
        const char *url, *options, *word;
    } bad[] = {{"coap://h", "{\"nstar\": 1}", "did you mean \"nstart\""},
               {"coap://h", "{\"nstart\": 0}", "1 to 1000"},
               {"coap://h", "{\"ackTimeout\": \"10ms\"}", "from 50.0 ms"},
               {"coap://h", "{\"ackRandomFactor\": 0.5}", "from 1 to 10"},
               {"coap://h", "{\"blockSize\": 1000}", "512 or 1024"},
               {"coap://h", "{\"publish\": {\"method\": \"SEND\"}}", "\"PUT\""},
               {"coap://h", "{\"publish\": {\"contentFormat\": \"a/b\"}}", "media type"},
               {"coap://h", "{\"serve\": {\"listen\": \"localhost:1\"}}", "127.0.0.1:0"},
               {"coap://h", "{\"serve\": {\"listn\": 1}}", "did you mean"},
               {"coap://h", "{\"resourceDirectory\": {\"url\": \"coap://other/rd\"}}", "connection of its own"},
               {"coap://h", "{\"resourceDirectory\": {\"endpoint\": \"${index}\"}}", "${deviceId}"},
               {"coap://h", "{\"reconnect\": {\"initial\": \"5s\", \"max\": \"1s\"}}", "shorter"},
               {"coap://h", "{\"tls\": {}}", "coaps://"},
               {"coap://h", "{\"connectPacing\": \"quick\"}", "adaptive"},
               {"coap://h", "{\"source\": \"1.2.3\"}", "source"},
               {"coap+tcp://h", "{\"ackTimeout\": \"2s\"}", "over TCP"},
               {"coaps://h", "{\"tls\": {\"veryfy\": true}}", "verify"},
               {"coaps://h", "{\"tls\": {\"alpn\": [\"coap\"]}}", "tls.alpn: not for CoAP"},
               {"coap://h", "{\"maxRetransmit\": 21}", "0 to 20"},
               {"coap://u:p@h", NULL, "no user"},
               {"coap://h/a?b", NULL, "no query"},
               {"mqtt://h", NULL, "coap+tcp"}};
    struct world w;
    struct error err;
    (void)state;
    world_create(&w);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *o = bad[i].options ? json_loads(bad[i].options, 0, NULL) : NULL;
        assert_null(OPS->target_new(&w.env, bad[i].url, o, "g", &err));
        if (!strstr(err.text, bad[i].word))
            print_message("%s %s: %s\n", bad[i].url, bad[i].options ? bad[i].options : "", err.text);
        assert_non_null(strstr(err.text, bad[i].word));
        json_decref(o);
    }
    world_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(options_are_checked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
