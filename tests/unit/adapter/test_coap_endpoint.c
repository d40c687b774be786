// Where servers of libcoap listen: port 0 is a port of one's own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>
#include "adapter/coap/coap.h"
#include "adapter/coap/endpoint.h"

#define ENDPOINTS 800 // of 28,232 ports: with shared ones, 11 pairs are expected

static uint16_t port_of(const coap_endpoint_t *endpoint)
{
    const char *colon = strrchr(coap_endpoint_str(endpoint), ':');
    unsigned port = 0;
    for (colon++; *colon >= '0' && *colon <= '9'; colon++)
        port = port * 10 + (unsigned)(*colon - '0');
    return (uint16_t)port;
}

static void listen_on(coap_context_t *context, coap_address_t *at, bool *taken)
{
    for (unsigned i = 0; i < ENDPOINTS; i++) {
        coap_endpoint_t *endpoint = coap_endpoint_open(context, at, COAP_PROTO_UDP);
        assert_non_null(endpoint);
        uint16_t port = port_of(endpoint);
        assert_int_not_equal(port, 0);
        assert_false(taken[port]);
        taken[port] = true;
    }
}

static void any_port_is_nobody_elses(void **state)
{
    (void)state;
    static bool taken[65536];
    assert_string_equal(coap_adapter.name, "coap"); // links the functions that libcoap's are wrapped with
    coap_context_t *context = coap_new_context(NULL);
    coap_address_t at;
    coap_address_init(&at);
    at.size = sizeof at.addr.sin;
    at.addr.sin.sin_family = AF_INET;
    at.addr.sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listen_on(context, &at, taken);
    coap_free_context(context);
}

static void a_given_port_is_that_port(void **state)
{
    (void)state;
    coap_context_t *context = coap_new_context(NULL);
    coap_address_t at;
    coap_address_init(&at);
    at.size = sizeof at.addr.sin;
    at.addr.sin.sin_family = AF_INET;
    at.addr.sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    coap_endpoint_t *endpoint = coap_endpoint_open(context, &at, COAP_PROTO_UDP);
    assert_non_null(endpoint);
    uint16_t port = port_of(endpoint);
    coap_free_endpoint(endpoint);
    at.addr.sin.sin_port = htons(port);
    endpoint = coap_endpoint_open(context, &at, COAP_PROTO_UDP);
    assert_non_null(endpoint);
    assert_int_equal(port_of(endpoint), port);
    at.addr.sin.sin_addr.s_addr = htonl(0xc0000201); // 192.0.2.1 is nobody's
    at.addr.sin.sin_port = 0;
    assert_null(coap_endpoint_open(context, &at, COAP_PROTO_UDP));
    coap_free_context(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_port_is_nobody_elses),
        cmocka_unit_test(a_given_port_is_that_port),
    };
    coap_startup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
