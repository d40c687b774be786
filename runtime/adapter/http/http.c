#include "adapter/http/http.h"
#include "adapter/http/exchange.h"

static const char *const schemes[] = {"http", "https", NULL};

static int subscribe_with(struct adapter_conn *c, const struct adapter_subscription *s, uint32_t token,
                          struct error *err)
{
    if (s->no_local || s->retain_as_published || s->retain_handling || s->identifier)
        return error_set(err, ERR_UNSUPPORTED, "HTTP has no %s",
                         s->identifier ? "subscription identifiers" : "subscription options");
    return http_subscribe(c, s->filter, s->qos, token, err);
}

static int notify(struct adapter_conn *c, const char *path, struct error *err)
{
    (void)c, (void)path;
    return error_set(err, ERR_UNSUPPORTED, "HTTP cannot notify: its clients ask");
}

static int target_check(const struct adapter_target *target, uint32_t fields, struct error *err)
{
    const struct http_target *t = (const struct http_target *)target;
    if (fields & (1u << FIELD_PSK_IDENTITY | 1u << FIELD_PSK_KEY))
        return error_set(err, ERR_UNSUPPORTED,
                         "tls.psk: HTTP has no pre-shared keys here (libcurl knows none): give a certificate, tls.cert "
                         "and tls.key or tls.mint; MQTT and CoAP have them");
    return http_auth_check(t, fields, err);
}

const struct adapter_ops http_adapter = {
    .abi = ADAPTER_ABI,
    .size = sizeof(struct adapter_ops),
    .name = "http",
    .schemes = schemes,
    .target_new = http_target_new,
    .target_delete = http_target_delete,
    .conn_new = http_conn_new,
    .conn_delete = http_conn_delete,
    .conn_open = http_conn_open,
    .conn_close = http_conn_close,
    .publish = http_publish,
    .subscribe = http_subscribe,
    .unsubscribe = http_unsubscribe,
    .pending = http_conn_pending,
    .footprint = http_conn_footprint,
    .conn_freeze = http_conn_freeze,
    .subscribe_with = subscribe_with,
    .request = http_request,
    .request_cancel = http_request_cancel,
    .serve = http_serve,
    .unserve = http_unserve,
    .respond = http_respond,
    .notify = notify,
    .served_at = http_served_at,
    .target_check = target_check,
    .conn_path = http_conn_path,
};
