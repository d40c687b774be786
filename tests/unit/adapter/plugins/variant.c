// Plugins for test_plugin.c, one a VARIANT: a good one, and every way to be broken.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "adapter/plugin_abi.h"

enum {
    GOOD,
    ABI,
    SMALL,
    NOSYMBOL,
    NONAME,
    TAKEN,
    BADSCHEME,
    REFUSES,
    HOLES,
    SEGV,
    CTOR,
    HANG,
    LEAVES,
    UNDEFINED,
    TWIN
};

struct adapter_target {
    int x;
};
struct adapter_conn {
    int x;
};

static struct adapter_target *target_new(const struct adapter_env *env, const char *url, const json_t *options,
                                         const char *group, struct error *err)
{
    (void)env, (void)url, (void)options, (void)group, (void)err;
    return NULL;
}
static void target_delete(struct adapter_target *t)
{
    (void)t;
}
static struct adapter_conn *conn_new(struct adapter_target *t, const struct adapter_events *e,
                                     const struct adapter_identity *i, void *owner, uint64_t seed, struct error *err)
{
    (void)t, (void)e, (void)i, (void)owner, (void)seed, (void)err;
    return NULL;
}
static void conn_delete(struct adapter_conn *c)
{
    (void)c;
}
static int conn_open(struct adapter_conn *c, struct error *err)
{
    (void)c, (void)err;
    return -1;
}
static void conn_close(struct adapter_conn *c, enum adapter_close mode)
{
    (void)c, (void)mode;
}
static int publish(struct adapter_conn *c, const struct adapter_message *m, uint32_t token, struct error *err)
{
    (void)c, (void)m, (void)token, (void)err;
    return -1;
}
static int subscribe(struct adapter_conn *c, const char *filter, int qos, uint32_t token, struct error *err)
{
    (void)c, (void)filter, (void)qos, (void)token, (void)err;
    return -1;
}
static int unsubscribe(struct adapter_conn *c, const char *filter, uint32_t token, struct error *err)
{
    (void)c, (void)filter, (void)token, (void)err;
    return -1;
}
static unsigned pending(const struct adapter_conn *c)
{
    (void)c;
    return 0;
}
static size_t footprint(const struct adapter_conn *c)
{
    (void)c;
    return 0;
}

#if defined VARIANT_CTOR
__attribute__((constructor)) static void early(void)
{
    abort();
}
#endif

#if defined VARIANT_NOSYMBOL
const struct adapter_ops *iotix_adaptor(const struct iotix_host *host);
const struct adapter_ops *iotix_adaptor(const struct iotix_host *host)
#else
const struct adapter_ops *iotix_adapter(const struct iotix_host *host)
#endif
{
    static const char *const schemes[] = {VARIANT == TAKEN       ? "mqtt"
                                          : VARIANT == BADSCHEME ? "My Scheme"
                                                                 : "good",
                                          NULL};
    static struct adapter_ops ops = {.abi = VARIANT == ABI ? 999 : ADAPTER_ABI,
                                     .size = VARIANT == SMALL ? 24 : sizeof ops,
                                     .name = VARIANT == NONAME ? ""
                                             : VARIANT == TWIN ? "twin"
                                                               : "goodname",
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
                                     .footprint = footprint};
    ops.schemes = schemes;
    if (host->abi != ADAPTER_ABI || host->size != sizeof *host)
        return NULL;
    if (VARIANT == REFUSES)
        return NULL;
    if (VARIANT == HOLES)
        ops.publish = NULL;
    if (VARIANT == SEGV)
        *(volatile int *)((uintptr_t)host->abi * 16) = 1;
    while (VARIANT == HANG)
        pause();
    if (VARIANT == LEAVES)
        _exit(7);
#if defined VARIANT_UNDEFINED
    struct buf b;
    buf_create(&b, 10);
#endif
    return &ops;
}
