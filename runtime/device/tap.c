#include "device/tap.h"

#include "device/internal.h"

static const struct device_tap *tap_of(const struct device *d)
{
    return d->group->fleet->config.tap;
}

int tap_publish(struct device *d, const struct adapter_message *m, uint32_t token, struct error *err)
{
    struct fleet *fleet = d->group->fleet;
    const struct device_tap *tap = fleet->config.tap;
    if (__builtin_expect(!tap, 1))
        return stamp_publish(d, m, token, err);
    if (tap->refuse && tap->refuse(tap->arg, d, err))
        return -1;
    bool forwarded = fleet->forwarding;
    fleet->forwarding = false; // of this one: what the adapter tells may publish
    int rc = stamp_publish(d, m, token, err);
    if (rc == 0 && tap->sent)
        tap->sent(tap->arg, d, m, forwarded);
    return rc;
}

int tap_forward(struct device *gateway, const struct adapter_message *m, struct error *err)
{
    struct fleet *fleet = gateway->group->fleet;
    fleet->forwarding = true;
    int rc = device_publish(gateway, m, 0, err);
    fleet->forwarding = false;
    return rc;
}

void tap_received(const struct device *d, const struct adapter_message *m)
{
    const struct device_tap *tap = tap_of(d);
    if (tap && tap->received)
        tap->received(tap->arg, d, m);
}

void tap_event(const struct device *d, const char *kind, const char *detail, int64_t latency_us)
{
    const struct device_tap *tap = tap_of(d);
    if (tap && tap->event)
        tap->event(tap->arg, d, kind, detail, latency_us);
}
