// The CoAP adapter as the adapter interface sees it.
#include "adapter/coap/coap.h"

#include "adapter/coap/exchange.h"
#include "adapter/coap/route.h"
#include "adapter/coap/serve.h"

static int subscribe_with(struct adapter_conn *conn, const struct adapter_subscription *s, uint32_t token,
                          struct error *err)
{
    const char *what = s->no_local              ? "noLocal"
                       : s->retain_as_published ? "retainAsPublished"
                       : s->retain_handling     ? "retainHandling"
                       : s->identifier          ? "an identifier"
                                                : NULL;
    if (what)
        return error_set(err, ERR_UNSUPPORTED, "CoAP subscriptions have no %s", what);
    return coap_subscribe(conn, s->filter, s->qos, token, err);
}

static unsigned pending(const struct adapter_conn *conn)
{
    const struct coap_conn *c = (const void *)conn;
    return c->n_pending;
}

static int served_at(struct adapter_conn *conn, struct buf *out, struct error *err)
{
    return coap_served_at(coap_conn_of(conn), out, err);
}

int coap_conn_hook(struct adapter_conn *conn, struct coap_hook *hook, struct error *err)
{
    if (!coap_io_known())
        return error_set(err, ERR_UNSUPPORTED, "libcoap %s is not the version whose inside is known (4.3.1)",
                         LIBCOAP_PACKAGE_VERSION);
    coap_conn_of(conn)->hook = hook;
    return 0;
}

int coap_conn_pass(struct adapter_conn *conn, bool down, const uint8_t *bytes, size_t n, struct error *err)
{
    return coap_io_pass(coap_conn_of(conn), down, bytes, n, err);
}

static const char *const schemes[] = {"coap", "coaps", "coap+tcp", "coaps+tcp", NULL};

const struct adapter_ops coap_adapter = {
    .abi = ADAPTER_ABI,
    .size = sizeof(struct adapter_ops),
    .name = "coap",
    .schemes = schemes,
    .target_new = coap_target_new,
    .target_delete = coap_target_delete,
    .conn_new = coap_conn_new,
    .conn_delete = coap_conn_delete,
    .conn_open = coap_conn_open,
    .conn_close = coap_conn_close,
    .publish = coap_publish,
    .subscribe = coap_subscribe,
    .unsubscribe = coap_unsubscribe,
    .pending = pending,
    .footprint = coap_conn_footprint,
    .conn_freeze = coap_conn_freeze,
    .subscribe_with = subscribe_with,
    .request = coap_ask,
    .request_cancel = coap_ask_cancel,
    .serve = coap_serve,
    .unserve = coap_unserve,
    .respond = coap_respond,
    .notify = coap_notify,
    .served_at = served_at,
    .conn_path = coap_conn_path,
};
