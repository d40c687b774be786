// From the name and parameters of a failure to a specification, or to what is wrong with them.
#include <math.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/units.h"
#include "device/failure.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

enum { MAX_MS = 2000000000, DEFAULT_DELAY_MS = 1000, DEFAULT_BOOT_MS = 5000 };

static const char *const kinds[] = {"disconnect", "errorPayload", "slow",        "clockDrift", "batteryDrain",
                                    "reboot",     "staleToken",   "duplicateId", NULL};
static const char *const close_modes[] = {"clean", "abrupt", "halfOpen", NULL};
static const char *const payload_modes[] = {"any", "truncated", "types", "empty", "garbage", NULL};
static const char *const keys[FAILURE_KIND_MAX][5] = {
    [FAILURE_DISCONNECT] = {"mode"},
    [FAILURE_ERROR_PAYLOAD] = {"mode"},
    [FAILURE_SLOW] = {"delayMs"},
    [FAILURE_CLOCK_DRIFT] = {"offsetMs", "ppm"},
    [FAILURE_BATTERY_DRAIN] = {"attribute", "perSecond", "from", "rebootMs"},
    [FAILURE_REBOOT] = {"bootMs", "sequence"},
    [FAILURE_STALE_TOKEN] = {"token"},
    [FAILURE_DUPLICATE_ID] = {NULL},
};

const char *const *failure_names(void)
{
    return kinds;
}

static int check_keys(enum failure_kind kind, const json_t *params, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)params, key, value)
    {
        if (name_choose("unknown parameter", key, keys[kind], err) < 0)
            return -1;
    }
    return 0;
}

static int get_ms(const json_t *params, const char *key, int64_t dflt_ms, int64_t min_ms, int64_t *us,
                  struct error *err)
{
    int64_t ms;
    if (json_get_int(params, key, dflt_ms, &ms, err))
        return -1;
    if (json_object_get(params, key) && (ms < min_ms || ms > MAX_MS))
        return error_set(err, ERR_INVALID, "%s: must be %lld to %d milliseconds, is %lld", key, (long long)min_ms,
                         MAX_MS, (long long)ms);
    *us = ms * 1000;
    return 0;
}

static int parse_mode(const json_t *params, const char *const *valid, enum failure_mode first, struct failure_spec *out,
                      struct error *err)
{
    const char *mode;
    if (json_get_str(params, "mode", valid[0], &mode, err))
        return -1;
    int i = name_choose("unknown mode", mode, valid, err);
    out->mode = (enum failure_mode)((int)first + (i < 0 ? 0 : i));
    return i < 0 ? -1 : 0;
}

static int parse_clock(const json_t *params, struct failure_spec *out, struct error *err)
{
    if (get_ms(params, "offsetMs", 0, -(int64_t)MAX_MS, &out->offset_us, err) ||
        json_get_num(params, "ppm", 0, &out->rate, err))
        return -1;
    if (fabs(out->rate) > 1e6)
        return error_set(err, ERR_INVALID, "ppm: must be -1000000 to 1000000, is %.14g", out->rate);
    if (out->offset_us == 0 && out->rate == 0)
        return error_set(err, ERR_INVALID, "a clock that drifts needs \"offsetMs\" or \"ppm\"");
    return 0;
}

static const struct model_attribute *attribute_of(const struct model *m, unsigned slot)
{
    for (unsigned i = 0; i < m->n_attributes; i++) {
        if (m->attributes[i].slot == slot)
            return &m->attributes[i];
    }
    return NULL;
}

static int parse_battery(const json_t *params, const struct model *m, struct failure_spec *out, struct error *err)
{
    const char *name, *names[MODEL_MAX_ATTRIBUTES + 1];
    if (json_get_str(params, "attribute", NULL, &name, err) || json_get_num(params, "perSecond", 0, &out->rate, err) ||
        json_get_num(params, "from", NAN, &out->from, err))
        return -1;
    if (!name)
        return error_set(err, ERR_INVALID, "\"attribute\" is missing: which attribute is the battery's");
    int slot = m ? model_slot(m, name) : -1;
    if (slot < 0) {
        unsigned n = 0;
        for (; m && n < m->n_attributes; n++)
            names[n] = m->names[n];
        names[n] = NULL;
        return error_unknown(err, "unknown attribute", name, names);
    }
    out->slot = (unsigned)slot;
    const struct model_attribute *a = attribute_of(m, out->slot);
    if (a && a->type != VALUE_NUMBER && a->type != VALUE_INTEGER)
        return error_set(err, ERR_INVALID, "attribute: %s is no number", name);
    if (!(out->rate > 0))
        return error_set(err, ERR_INVALID, "perSecond: must be more than 0");
    if (out->from < 0)
        return error_set(err, ERR_INVALID, "from: must be at least 0, is %.14g", out->from);
    if (!json_object_get(params, "rebootMs")) {
        out->delay_us = -1;
        return 0;
    }
    return get_ms(params, "rebootMs", 0, 0, &out->delay_us, err);
}

static int parse_boot(const json_t *params, struct failure_spec *out, struct error *err)
{
    const json_t *sequence = json_object_get(params, "sequence");
    int64_t dflt_ms = out->duration_us ? out->duration_us / 1000 : DEFAULT_BOOT_MS;
    if (sequence && !json_is_array(sequence))
        return error_set(err, ERR_INVALID, "sequence: expected a list of payloads");
    if (json_array_size(sequence) > FAILURE_MAX_BOOT)
        return error_set(err, ERR_LIMIT, "sequence: at most %d payloads, there are %zu", FAILURE_MAX_BOOT,
                         json_array_size(sequence));
    return get_ms(params, "bootMs", dflt_ms, 0, &out->delay_us, err);
}

static int parse_token(const json_t *params, struct error *err)
{
    const char *token;
    if (json_get_str(params, "token", NULL, &token, err))
        return -1;
    return token && strlen(token) > 4096 ? error_set(err, ERR_LIMIT, "token: at most 4096 bytes") : 0;
}

static int parse_kind(const json_t *params, const struct model *model, struct failure_spec *out, struct error *err)
{
    switch (out->kind) {
    case FAILURE_DISCONNECT:
        return parse_mode(params, close_modes, MODE_CLEAN, out, err);
    case FAILURE_ERROR_PAYLOAD:
        return parse_mode(params, payload_modes, MODE_ANY, out, err);
    case FAILURE_SLOW:
        return get_ms(params, "delayMs", DEFAULT_DELAY_MS, 1, &out->delay_us, err);
    case FAILURE_CLOCK_DRIFT:
        return parse_clock(params, out, err);
    case FAILURE_BATTERY_DRAIN:
        return parse_battery(params, model, out, err);
    case FAILURE_REBOOT:
        return parse_boot(params, out, err);
    case FAILURE_STALE_TOKEN:
        return parse_token(params, err);
    case FAILURE_DUPLICATE_ID:
    case FAILURE_KIND_MAX:
        break;
    }
    return 0;
}

int failure_parse(const char *kind, const json_t *params, int64_t duration_us, const struct model *model,
                  struct failure_spec *out, struct error *err)
{
    int i = name_choose("unknown failure", kind, kinds, err);
    if (i < 0)
        return -1;
    *out =
        (struct failure_spec){.kind = (enum failure_kind)i, .duration_us = duration_us, .from = NAN, .params = params};
    if (params && !json_is_object(params))
        return error_set(err, ERR_INVALID, "params: expected an object");
    if (duration_us < 0 || duration_us > (int64_t)MAX_MS * 1000)
        return error_set(err, ERR_INVALID, "duration: must be 0 to %d milliseconds", MAX_MS);
    if (check_keys(out->kind, params, err) || parse_kind(params, model, out, err))
        return error_prefix(err, "%s", kind);
    return 0;
}
