// The echo server: libcoap as it is meant to be used, with its own block-wise transfer and observe, so that what the
// adapter does for itself is tried against another implementation.
#include "adapter/coap/echo.h"

#include <arpa/inet.h>
#include <coap3/coap.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "adapter/coap/endpoint.h"
#include "core/buf.h"
#include "core/error.h"
#include "core/file.h"
#include "core/units.h"

#define BODY_MAX (1u << 20)
#define LARGE_DEFAULT (100u << 10)
#define RESOURCES_DEFAULT 10000u
#define DIRECTORY_MAX 1000u

struct kept { // a resource that a PUT or POST made
    coap_resource_t *resource;
    uint8_t *bytes;
    size_t n;
    int format; // -1: none
};

struct echo {
    coap_context_t *ctx;
    const struct coap_echo_config *config;
    coap_resource_t *time;
    uint8_t *large; // a pattern of BODY_MAX bytes
    time_t began;
    unsigned n_kept, n_registered, next_registration;
    coap_bin_const_t psk;
};

static struct echo *echo_of(coap_session_t *session)
{
    return coap_get_app_data(coap_session_get_context(session));
}

static void release_copy(coap_session_t *session, void *copy)
{
    (void)session;
    free(copy);
}

// A body of any size; copied, because blocks are asked for later.
static void answer(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                   const coap_string_t *query, coap_pdu_t *response, coap_pdu_code_t code, int format,
                   const void *bytes, size_t n, int max_age)
{
    uint8_t *copy = malloc(n ? n : 1);
    coap_pdu_set_code(response, code);
    if (!copy) {
        coap_pdu_set_code(response, COAP_RESPONSE_CODE_INTERNAL_ERROR);
        return;
    }
    if (n)
        memcpy(copy, bytes, n);
    coap_add_data_large_response(resource, session, request, response, query,
                                 format < 0 ? COAP_MEDIATYPE_APPLICATION_OCTET_STREAM : (uint16_t)format, max_age, 0, n,
                                 copy, release_copy, copy);
}

static int format_of(const coap_pdu_t *pdu)
{
    coap_opt_iterator_t at;
    coap_opt_t *o = coap_check_option(pdu, COAP_OPTION_CONTENT_FORMAT, &at);
    return o ? (int)coap_decode_var_bytes(coap_opt_value(o), coap_opt_length(o)) : -1;
}

static const uint8_t *body_of(const coap_pdu_t *pdu, size_t *n)
{
    const uint8_t *bytes = NULL;
    size_t offset, total;
    if (!coap_get_data_large(pdu, n, &bytes, &offset, &total))
        *n = 0;
    return bytes;
}

static int64_t query_number(const coap_string_t *query, const char *name, int64_t dflt, int64_t max)
{
    char text[64], *at;
    int64_t v;
    if (!query || query->length >= sizeof text)
        return dflt;
    memcpy(text, query->s, query->length);
    text[query->length] = '\0';
    if (!(at = strstr(text, name)) || at[strlen(name)] != '=')
        return dflt;
    at += strlen(name) + 1;
    at[strcspn(at, "&")] = '\0';
    return int_parse(at, 0, max, &v, NULL) ? dflt : v;
}

// --- resources ----------------------------------------------------------------------------------------------------

static void on_echo(coap_resource_t *r, coap_session_t *s, const coap_pdu_t *request, const coap_string_t *query,
                    coap_pdu_t *response)
{
    size_t n;
    const uint8_t *bytes = body_of(request, &n);
    unsigned code = coap_pdu_get_code(request);
    if (!n && query) {
        bytes = query->s;
        n = query->length;
    }
    answer(r, s, request, query, response,
           code == COAP_REQUEST_CODE_GET || code == COAP_REQUEST_CODE_FETCH ? COAP_RESPONSE_CODE_CONTENT
           : code == COAP_REQUEST_CODE_DELETE                               ? COAP_RESPONSE_CODE_DELETED
                                                                            : COAP_RESPONSE_CODE_CHANGED,
           format_of(request), bytes, n, -1);
}

static void on_time(coap_resource_t *r, coap_session_t *s, const coap_pdu_t *request, const coap_string_t *query,
                    coap_pdu_t *response)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%lld", (long long)(time(NULL) - echo_of(s)->began));
    answer(r, s, request, query, response, COAP_RESPONSE_CODE_CONTENT, 0, text, (size_t)n, 2);
}

static void on_large(coap_resource_t *r, coap_session_t *s, const coap_pdu_t *request, const coap_string_t *query,
                     coap_pdu_t *response)
{
    int64_t n = query_number(query, "size", LARGE_DEFAULT, BODY_MAX);
    answer(r, s, request, query, response, COAP_RESPONSE_CODE_CONTENT, -1, echo_of(s)->large, (size_t)n, -1);
}

static void on_slow(coap_resource_t *r, coap_session_t *s, const coap_pdu_t *request, const coap_string_t *query,
                    coap_pdu_t *response)
{
    static const char text[] = "slow";
    coap_async_t *async = coap_find_async(s, coap_pdu_get_token(request));
    int64_t ms = query_number(query, "ms", 200, 60000);
    if (!async && ms > 0) {
        async = coap_register_async(s, request, (coap_tick_t)ms * COAP_TICKS_PER_SECOND / 1000);
        if (!async)
            coap_pdu_set_code(response, COAP_RESPONSE_CODE_SERVICE_UNAVAILABLE);
        return; // an empty acknowledgement; it comes back here
    }
    answer(r, s, request, query, response, COAP_RESPONSE_CODE_CONTENT, 0, text, sizeof text - 1, -1);
}

static void on_kept_get(coap_resource_t *r, coap_session_t *s, const coap_pdu_t *request, const coap_string_t *query,
                        coap_pdu_t *response)
{
    struct kept *k = coap_resource_get_userdata(r);
    answer(r, s, request, query, response, COAP_RESPONSE_CODE_CONTENT, k->format, k->bytes, k->n, -1);
}

static bool keep(struct kept *k, const coap_pdu_t *request)
{
    size_t n;
    const uint8_t *bytes = body_of(request, &n);
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy)
        return false;
    if (n)
        memcpy(copy, bytes, n);
    free(k->bytes);
    k->bytes = copy;
    k->n = n;
    k->format = format_of(request);
    return true;
}

static void on_kept_put(coap_resource_t *r, coap_session_t *s, const coap_pdu_t *request, const coap_string_t *query,
                        coap_pdu_t *response)
{
    (void)s, (void)query;
    bool done = keep(coap_resource_get_userdata(r), request);
    coap_pdu_set_code(response, done ? COAP_RESPONSE_CODE_CHANGED : COAP_RESPONSE_CODE_INTERNAL_ERROR);
    coap_resource_notify_observers(r, NULL);
}

static void on_kept_delete(coap_resource_t *r, coap_session_t *s, const coap_pdu_t *request, const coap_string_t *query,
                           coap_pdu_t *response)
{
    (void)request, (void)query;
    struct echo *e = echo_of(s);
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_DELETED);
    e->n_kept--;
    coap_delete_resource(e->ctx, r);
}

static void on_kept_free(void *userdata)
{
    struct kept *k = userdata;
    if (k)
        free(k->bytes);
    free(k);
}

static void on_directory_keep(coap_resource_t *r, coap_session_t *s, const coap_pdu_t *request,
                              const coap_string_t *query, coap_pdu_t *response)
{
    size_t n;
    struct kept *k = coap_resource_get_userdata(r);
    (void)s, (void)query, (void)body_of(request, &n);
    if (n) // an empty POST refreshes the lifetime only
        (void)keep(k, request);
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_CHANGED);
}

static coap_resource_t *make_kept(struct echo *e, const uint8_t *path, size_t n, const coap_pdu_t *request,
                                  coap_method_handler_t write)
{
    struct kept *k = calloc(1, sizeof *k);
    coap_str_const_t *name = coap_new_str_const(path, n);
    coap_resource_t *r = name ? coap_resource_init(name, COAP_RESOURCE_FLAGS_RELEASE_URI) : NULL;
    if (!k || !r || !keep(k, request)) {
        on_kept_free(k);
        return NULL;
    }
    k->resource = r;
    coap_resource_set_userdata(r, k);
    coap_resource_set_get_observable(r, 1);
    coap_register_request_handler(r, COAP_REQUEST_GET, on_kept_get);
    coap_register_request_handler(r, COAP_REQUEST_FETCH, on_kept_get);
    coap_register_request_handler(r, COAP_REQUEST_PUT, write);
    coap_register_request_handler(r, COAP_REQUEST_POST, write);
    coap_register_request_handler(r, COAP_REQUEST_PATCH, write);
    coap_register_request_handler(r, COAP_REQUEST_IPATCH, write);
    coap_register_request_handler(r, COAP_REQUEST_DELETE, on_kept_delete);
    coap_add_resource(e->ctx, r);
    e->n_kept++;
    return r;
}

static void on_unknown(coap_resource_t *r, coap_session_t *s, const coap_pdu_t *request, const coap_string_t *query,
                       coap_pdu_t *response)
{
    struct echo *e = echo_of(s);
    coap_string_t *path = coap_get_uri_path(request);
    (void)r, (void)query;
    if (!path || e->n_kept >= (e->config->max_resources ? e->config->max_resources : RESOURCES_DEFAULT) ||
        !make_kept(e, path->s, path->length, request, on_kept_put))
        coap_pdu_set_code(response, COAP_RESPONSE_CODE_INTERNAL_ERROR);
    else
        coap_pdu_set_code(response, COAP_RESPONSE_CODE_CREATED);
    coap_delete_string(path);
}

static void on_register(coap_resource_t *r, coap_session_t *s, const coap_pdu_t *request, const coap_string_t *query,
                        coap_pdu_t *response)
{
    struct echo *e = echo_of(s);
    char path[32];
    (void)r;
    if (!query || !memmem(query->s, query->length, "ep=", 3)) {
        coap_pdu_set_code(response, COAP_RESPONSE_CODE_BAD_REQUEST);
        return;
    }
    int n = snprintf(path, sizeof path, "rd/%u", ++e->next_registration);
    if (e->n_registered++ >= DIRECTORY_MAX || !make_kept(e, (uint8_t *)path, (size_t)n, request, on_directory_keep)) {
        coap_pdu_set_code(response, COAP_RESPONSE_CODE_INTERNAL_ERROR);
        return;
    }
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_CREATED);
    coap_add_option(response, COAP_OPTION_LOCATION_PATH, 2, (const uint8_t *)"rd");
    coap_add_option(response, COAP_OPTION_LOCATION_PATH, (size_t)n - 3, (const uint8_t *)path + 3);
}

static void on_list(coap_resource_t *r, coap_session_t *s, const coap_pdu_t *request, const coap_string_t *query,
                    coap_pdu_t *response)
{
    struct echo *e = echo_of(s);
    struct buf out;
    char path[32];
    int rc = 0;
    buf_create(&out, BODY_MAX);
    for (unsigned i = 1; i <= e->next_registration && !rc; i++) {
        int n = snprintf(path, sizeof path, "rd/%u", i);
        coap_str_const_t name = {(size_t)n, (const uint8_t *)path};
        coap_resource_t *found = coap_get_resource_from_uri_path(e->ctx, &name);
        struct kept *k = found ? coap_resource_get_userdata(found) : NULL;
        if (k)
            rc = (out.len && buf_append_char(&out, ',')) || buf_append(&out, k->bytes, k->n);
    }
    answer(r, s, request, query, response, COAP_RESPONSE_CODE_CONTENT, 40, out.data, out.len, -1);
    buf_destroy(&out);
}

static coap_resource_t *add(struct echo *e, const char *path, coap_method_handler_t fn, bool all)
{
    coap_str_const_t name = {strlen(path), (const uint8_t *)path};
    coap_resource_t *r = coap_resource_init(&name, 0);
    if (!r)
        return NULL;
    coap_register_request_handler(r, COAP_REQUEST_GET, fn);
    for (coap_request_t m = COAP_REQUEST_POST; all && m <= COAP_REQUEST_IPATCH; m++)
        coap_register_request_handler(r, m, fn);
    coap_add_resource(e->ctx, r);
    return r;
}

static void attribute(coap_resource_t *r, const char *name, const char *value)
{
    coap_str_const_t n = {strlen(name), (const uint8_t *)name}, v = {strlen(value), (const uint8_t *)value};
    coap_add_attr(r, &n, &v, 0);
}

static int add_resources(struct echo *e)
{
    coap_resource_t *echo = add(e, "echo", on_echo, true), *large = add(e, "large", on_large, false),
                    *slow = add(e, "slow", on_slow, true), *rd = add(e, "rd", on_list, false),
                    *unknown = coap_resource_unknown_init(on_unknown);
    e->time = add(e, "time", on_time, false);
    if (!echo || !large || !slow || !rd || !unknown || !e->time)
        return -1;
    coap_resource_set_get_observable(e->time, 1);
    attribute(e->time, "rt", "\"time\"");
    attribute(rd, "rt", "\"core.rd\"");
    coap_register_request_handler(rd, COAP_REQUEST_POST, on_register);
    coap_register_request_handler(unknown, COAP_REQUEST_POST, on_unknown);
    coap_add_resource(e->ctx, unknown);
    coap_resource_release_userdata_handler(e->ctx, on_kept_free);
    return 0;
}

// --- endpoints ----------------------------------------------------------------------------------------------------

static uint16_t port_of(coap_endpoint_t *endpoint)
{
    const char *text = coap_endpoint_str(endpoint), *colon = strrchr(text, ':');
    char digits[8];
    int64_t port;
    snprintf(digits, sizeof digits, "%.*s", (int)strcspn(colon ? colon + 1 : "", " "), colon ? colon + 1 : "");
    return int_parse(digits, 1, 65535, &port, NULL) ? 0 : (uint16_t)port;
}

// The same port for datagrams and streams. 0 is tried again: what one kind of socket gets may be taken for the other.
static int listen_pair(struct echo *e, const char *host, uint16_t port, coap_proto_t datagram, coap_proto_t stream,
                       uint16_t *got, struct error *err)
{
    coap_address_t at;
    for (int tries = port ? 1 : 20; tries; tries--) {
        coap_address_init(&at);
        at.size = sizeof at.addr.sin;
        at.addr.sin.sin_family = AF_INET;
        at.addr.sin.sin_port = htons(port);
        if (inet_pton(AF_INET, host, &at.addr.sin.sin_addr) != 1)
            return error_set(err, ERR_INVALID, "expected an IPv4 address to listen on, got \"%.60s\"", host);
        coap_endpoint_t *first = coap_endpoint_open(e->ctx, &at, datagram);
        if (!first)
            continue;
        *got = port_of(first);
        at.addr.sin.sin_port = htons(*got);
        if (coap_endpoint_open(e->ctx, &at, stream))
            return 0;
        coap_free_endpoint(first);
    }
    return error_set(err, ERR_IO, "cannot listen on %s:%u", host, port);
}

static const coap_bin_const_t *any_identity(coap_bin_const_t *identity, coap_session_t *session, void *arg)
{
    (void)identity, (void)session;
    return arg;
}

static int secure(struct echo *e, struct error *err)
{
    const struct coap_echo_config *o = e->config;
    if (o->cert) {
        coap_dtls_pki_t pki = {
            .version = COAP_DTLS_PKI_SETUP_VERSION,
            .verify_peer_cert = o->ca != NULL,
            .check_common_ca = o->ca != NULL,
            .cert_chain_validation = 1,
            .cert_chain_verify_depth = 3,
            .pki_key = {.key_type = COAP_PKI_KEY_PEM,
                        .key.pem = {.ca_file = o->ca, .public_cert = o->cert, .private_key = o->key}}};
        if (!coap_context_set_pki(e->ctx, &pki))
            return error_set(err, ERR_TLS, "libcoap does not take the certificate %s", o->cert);
    }
    if (o->psk_key) {
        e->psk = (coap_bin_const_t){strlen(o->psk_key), (const uint8_t *)o->psk_key};
        coap_dtls_spsk_t psk = {.version = COAP_DTLS_SPSK_SETUP_VERSION,
                                .validate_id_call_back = any_identity,
                                .id_call_back_arg = &e->psk,
                                .psk_info = {.hint = {5, (const uint8_t *)"iotix"}, .key = e->psk}};
        if (!coap_context_set_psk2(e->ctx, &psk))
            return error_set(err, ERR_TLS, "libcoap does not take the pre-shared key");
    }
    return o->cert || o->psk_key ? 0 : error_set(err, ERR_INVALID, "coaps needs a certificate or a pre-shared key");
}

// --- the process --------------------------------------------------------------------------------------------------

static void quiet(coap_log_t level, const char *text)
{
    (void)level, (void)text;
}

static void serve(struct echo *e, int stop_fd)
{
    struct pollfd fds[2] = {{.fd = coap_context_get_coap_fd(e->ctx), .events = POLLIN},
                            {.fd = stop_fd, .events = POLLIN}};
    time_t shown = time(NULL);
    for (;;) {
        int n = poll(fds, stop_fd >= 0 ? 2 : 1, 200);
        if (n < 0 && errno != EINTR)
            return;
        if (stop_fd >= 0 && fds[1].revents)
            return;
        // Also when nothing is ready: libcoap sends notifications and delayed answers from here.
        if (coap_io_process(e->ctx, COAP_IO_NO_WAIT) < 0)
            return;
        if (time(NULL) != shown) {
            shown = time(NULL);
            coap_resource_notify_observers(e->time, NULL);
        }
    }
}

// Many devices that send at once fill the default buffer; libcoap keeps its sockets to itself.
static void widen_buffers(void)
{
    static const int size = 4 << 20;
    for (int fd = 3; fd < 64; fd++) {
        int type = 0;
        socklen_t n = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_DGRAM &&
            setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
            (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
}

static int start(struct echo *e, int ready_fd, struct error *err)
{
    const struct coap_echo_config *o = e->config;
    const char *host = o->host ? o->host : "127.0.0.1";
    uint16_t plain, secured = 0;
    char text[64];
    coap_set_log_handler(quiet);
    coap_set_log_level(LOG_EMERG);
    e->large = malloc(BODY_MAX);
    e->ctx = coap_new_context(NULL);
    if (!e->ctx || !e->large)
        return error_set(err, ERR_NO_MEMORY, "no memory for a CoAP server");
    for (size_t i = 0; i < BODY_MAX; i++)
        e->large[i] = (uint8_t)('a' + i % 26);
    e->began = time(NULL);
    coap_set_app_data(e->ctx, e);
    coap_context_set_block_mode(e->ctx, COAP_BLOCK_USE_LIBCOAP | COAP_BLOCK_SINGLE_BODY);
    if (add_resources(e) < 0)
        return error_set(err, ERR_NO_MEMORY, "no memory for the resources of a CoAP server");
    if (o->secure && secure(e, err) < 0)
        return -1;
    if (listen_pair(e, host, o->udp, COAP_PROTO_UDP, COAP_PROTO_TCP, &plain, err) < 0 ||
        (o->secure && listen_pair(e, host, o->dtls, COAP_PROTO_DTLS, COAP_PROTO_TLS, &secured, err) < 0))
        return -1;
    widen_buffers();
    int n = snprintf(text, sizeof text, "coap=%u coaps=%u\n", plain, secured);
    return file_write_all(ready_fd, text, (size_t)n, "the ready descriptor", err);
}

int coap_echo_run(const struct coap_echo_config *config, int ready_fd, int stop_fd, struct error *err)
{
    struct echo e = {.config = config};
    int rc = start(&e, ready_fd, err);
    if (rc == 0)
        serve(&e, stop_fd);
    if (e.ctx)
        coap_free_context(e.ctx);
    free(e.large);
    return rc;
}
