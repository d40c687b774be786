// The CoAP adapter as the adapter interface sees it: casts between its opaque types and ours.
#include "adapter/coap/coap.h"

#include "adapter/coap/exchange.h"
#include "adapter/coap/serve.h"

static struct coap_conn *conn_of(struct adapter_conn *conn)
{
    return (struct coap_conn *)(void *)conn;
}

static const struct coap_conn *const_conn_of(const struct adapter_conn *conn)
{
    return (const struct coap_conn *)(const void *)conn;
}

static struct adapter_target *target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                         const char *group, struct error *err)
{
    return (struct adapter_target *)(void *)coap_target_new(env, url, options, group, err);
}

static void target_delete(struct adapter_target *target)
{
    coap_target_delete((struct coap_target *)(void *)target);
}

static struct adapter_conn *conn_new(struct adapter_target *target, const struct adapter_events *events,
                                     const struct adapter_identity *identity, void *owner, uint64_t seed,
                                     struct error *err)
{
    struct coap_target *t = (struct coap_target *)(void *)target;
    return (struct adapter_conn *)(void *)coap_conn_new(t, events, identity, owner, seed, err);
}

static void conn_delete(struct adapter_conn *conn)
{
    coap_conn_delete(conn_of(conn));
}

static int conn_open(struct adapter_conn *conn, struct error *err)
{
    return coap_conn_open(conn_of(conn), err);
}

static void conn_close(struct adapter_conn *conn, enum adapter_close mode)
{
    coap_conn_close(conn_of(conn), mode);
}

static int publish(struct adapter_conn *conn, const struct adapter_message *message, uint32_t token, struct error *err)
{
    return coap_publish(conn_of(conn), message, token, err);
}

static int subscribe(struct adapter_conn *conn, const char *filter, int qos, uint32_t token, struct error *err)
{
    return coap_subscribe(conn_of(conn), filter, qos, token, err);
}

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
    return coap_subscribe(conn_of(conn), s->filter, s->qos, token, err);
}

static int unsubscribe(struct adapter_conn *conn, const char *filter, uint32_t token, struct error *err)
{
    return coap_unsubscribe(conn_of(conn), filter, token, err);
}

static unsigned pending(const struct adapter_conn *conn)
{
    return const_conn_of(conn)->n_pending;
}

static size_t footprint(const struct adapter_conn *conn)
{
    return coap_conn_footprint(const_conn_of(conn));
}

static void conn_freeze(struct adapter_conn *conn, bool frozen)
{
    coap_conn_freeze(conn_of(conn), frozen);
}

static int request(struct adapter_conn *conn, const struct adapter_request *r, uint32_t token, struct error *err)
{
    return coap_ask(conn_of(conn), r, token, err);
}

static void request_cancel(struct adapter_conn *conn, uint32_t token)
{
    coap_ask_cancel(conn_of(conn), token);
}

static int serve(struct adapter_conn *conn, const char *path, const json_t *attributes, struct error *err)
{
    return coap_serve(conn_of(conn), path, attributes, err);
}

static void unserve(struct adapter_conn *conn, const char *path)
{
    coap_unserve(conn_of(conn), path);
}

static int respond(struct adapter_conn *conn, uint64_t ticket, const struct adapter_response *response,
                   struct error *err)
{
    return coap_respond(conn_of(conn), ticket, response, err);
}

static int notify(struct adapter_conn *conn, const char *path, struct error *err)
{
    return coap_notify(conn_of(conn), path, err);
}

static int served_at(struct adapter_conn *conn, struct buf *out, struct error *err)
{
    return coap_served_at(conn_of(conn), out, err);
}

int coap_conn_hook(struct adapter_conn *conn, struct coap_hook *hook, struct error *err)
{
    if (!coap_io_known())
        return error_set(err, ERR_UNSUPPORTED, "libcoap %s is not the version whose inside is known (4.3.1)",
                         LIBCOAP_PACKAGE_VERSION);
    conn_of(conn)->hook = hook;
    return 0;
}

int coap_conn_pass(struct adapter_conn *conn, bool down, const uint8_t *bytes, size_t n, struct error *err)
{
    return coap_io_pass(conn_of(conn), down, bytes, n, err);
}

static const char *const schemes[] = {"coap", "coaps", "coap+tcp", "coaps+tcp", NULL};

const struct adapter_ops coap_adapter = {
    .abi = ADAPTER_ABI,
    .size = sizeof(struct adapter_ops),
    .name = "coap",
    .schemes = schemes,
    .target_new = target_new,
    .target_delete = target_delete,
    .conn_new = conn_new,
    .conn_delete = conn_delete,
    .conn_open = conn_open,
    .conn_close = conn_close,
    .publish = publish,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .pending = pending,
    .footprint = footprint,
    .conn_freeze = conn_freeze,
    .subscribe_with = subscribe_with,
    .request = request,
    .request_cancel = request_cancel,
    .serve = serve,
    .unserve = unserve,
    .respond = respond,
    .notify = notify,
    .served_at = served_at,
};
