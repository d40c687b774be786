// A group: its templates, its adapter target, its devices, and the one timer that launches them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/units.h"
#include "device/credentials.h"
#include "device/gateway.h"
#include "device/impair.h"
#include "device/internal.h"
#include "device/proxy.h"
#include "device/rule.h"

// --- configuration ------------------------------------------------------------------------------------------------

static int copy(const char **s, struct error *err)
{
    if (!*s)
        return 0;
    *s = strdup(*s);
    return *s ? 0 : error_set(err, ERR_NO_MEMORY, "out of memory");
}

// From here on every string of the config is the group's own. On failure those not yet copied become NULL.
static int own_config(struct group *g, const struct group_config *config, struct error *err)
{
    g->config = *config;
    struct group_config *c = &g->config;
    const char **strings[] = {&c->name,     &c->url,      &c->id_pattern, &c->client_id_pattern, &c->topic_base,
                              &c->username, &c->password, &c->will_topic, &c->will_payload,      &c->secret};
    int failed = 0;
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        if (failed)
            *strings[i] = NULL;
        else
            failed = copy(strings[i], err);
    }
    c->options = NULL;     // only for target_new
    c->credentials = NULL; // only for credentials_new
    c->proxies = NULL;     // only for proxies_new
    c->dropouts = NULL;
    c->n_dropouts = 0;
    if (failed || !config->n_dropouts)
        return failed;
    struct dropout *dropouts = malloc(config->n_dropouts * sizeof(*dropouts));
    if (!dropouts)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    memcpy(dropouts, config->dropouts, config->n_dropouts * sizeof(*dropouts));
    c->dropouts = dropouts;
    c->n_dropouts = config->n_dropouts;
    return 0;
}

static int check_config(const struct fleet *fleet, const struct group_config *c, struct error *err)
{
    if (!c->name || !c->name[0])
        return error_set(err, ERR_INVALID, "a group needs a name");
    for (unsigned i = 0; i < fleet->n_groups; i++) {
        if (!strcmp(fleet->groups[i]->config.name, c->name))
            return error_set(err, ERR_INVALID, "there are two groups named %s", c->name);
    }
    if (!c->model && !c->behaviour && !c->proxies)
        return error_set(err, ERR_INVALID, "it needs a model or a behaviour: nothing would happen");
    if (c->behaviour && !fleet->config.ops)
        return error_set(err, ERR_INTERNAL, "it has a behaviour, but nobody runs behaviours here");
    if (!c->url || !c->url[0])
        return error_set(err, ERR_INVALID, "it has no target; give a URL such as mqtt://127.0.0.1:1883");
    if (c->qos < 0 || c->qos > 2)
        return error_set(err, ERR_INVALID, "qos must be 0, 1 or 2, is %d", c->qos);
    if (c->topic_base && !c->topic_base[0])
        return error_set(err, ERR_INVALID, "the topic base is empty");
    return 0;
}

// --- adapter ------------------------------------------------------------------------------------------------------

static const struct adapter_ops *find(const struct fleet *fleet, const char *name)
{
    return fleet->config.find_adapter ? fleet->config.find_adapter(name)
                                      : adapter_registry_find(fleet->config.adapters, name);
}

static int unknown_scheme(const struct fleet *fleet, const char *scheme, struct error *err)
{
    static const char *const none[] = {NULL};
    const char *const *names = fleet->config.adapter_names;
    if (!names)
        names = fleet->config.find_adapter ? none : adapter_registry_names(fleet->config.adapters);
    return error_unknown(err, "no adapter for", scheme, names);
}

const struct adapter_ops *fleet_adapter(const struct fleet *fleet, const char *scheme, struct error *err)
{
    const struct adapter_ops *adapter = find(fleet, scheme);
    if (!adapter) {
        unknown_scheme(fleet, scheme, err);
        return NULL;
    }
    if (adapter->abi == ADAPTER_ABI && adapter->size >= ADAPTER_MIN_SIZE)
        return adapter;
    error_set(err, ERR_UNSUPPORTED, "the adapter for \"%s\" was built for ABI %u (%u bytes), this is %d (%zu)", scheme,
              adapter->abi, adapter->size, ADAPTER_ABI, ADAPTER_MIN_SIZE);
    return NULL;
}

// The scheme of the URL decides; without one the model's protocol, else mqtt.
static int choose_adapter(struct group *g, struct error *err)
{
    char scheme[32] = "mqtt";
    const char *sep = strstr(g->config.url, "://");
    const char *protocol = g->config.model ? g->config.model->protocol : NULL;
    if (sep && (size_t)(sep - g->config.url) >= sizeof(scheme))
        return error_set(err, ERR_INVALID, "\"%s\" is no URL", g->config.url);
    if (sep)
        snprintf(scheme, sizeof(scheme), "%.*s", (int)(sep - g->config.url), g->config.url);
    else if (protocol)
        snprintf(scheme, sizeof(scheme), "%s", protocol);
    g->adapter = fleet_adapter(g->fleet, scheme, err);
    if (!g->adapter)
        return -1;
    if (!protocol || find(g->fleet, protocol) == g->adapter)
        return 0;
    return error_set(err, ERR_INVALID, "its model %s speaks %s, but its target is %s", g->config.model->id, protocol,
                     g->config.url);
}

static int set_default(json_t *options, const char *key, json_t *value, struct error *err)
{
    if (json_object_get(options, key)) {
        json_decref(value);
        return 0;
    }
    return json_object_set_new(options, key, value) ? error_set(err, ERR_NO_MEMORY, "out of memory") : 0;
}

// connectRate is the group's; a shard has its share.
static int share_rate(const struct group *g, json_t *options)
{
    double rate = json_number_value(json_object_get(options, "connectRate"));
    uint64_t n = ownership_count(&g->fleet->config.owner, g->config.count);
    if (!(rate > 0) || n >= g->config.count || !n)
        return 0;
    return json_object_set_new(options, "connectRate", json_real(rate * (double)n / (double)g->config.count));
}

// What the model says about its connection, below what the group says. Only what differs from the format's defaults is
// passed on, so that an adapter without such an option does not stumble over it.
static json_t *merged_options(const struct group *g, const json_t *given, struct error *err)
{
    const struct model *m = g->config.model;
    json_t *options = given ? json_copy((json_t *)given) : json_object();
    if (!options) {
        error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    if (!json_is_object(options)) {
        json_decref(options);
        error_set(err, ERR_INVALID, "the options of its adapter must be an object");
        return NULL;
    }
    bool sessionless = !strcmp(g->adapter->name, "http") || !strcmp(g->adapter->name, "coap");
    if (sessionless) // the model's words for an MQTT session mean nothing to them
        m = NULL;
    if (share_rate(g, options) ||
        (m && m->keep_alive_s != 60 && set_default(options, "keepAlive", json_integer(m->keep_alive_s), err)) ||
        (m && !m->clean_session && set_default(options, "cleanSession", json_false(), err)) ||
        (m && m->sparkplug && set_default(options, "willQos", json_integer(1), err))) {
        json_decref(options);
        return NULL;
    }
    return options;
}

static int open_target(struct group *g, const json_t *given, struct error *err)
{
    json_t *options = merged_options(g, given, err);
    if (!options)
        return -1;
    const char *mode = json_string_value(json_object_get(json_object_get(options, "commands"), "mode"));
    g->polls_commands = mode && !strcmp(mode, "poll");
    g->target = g->adapter->target_new(&g->fleet->config.env, g->config.url, options, g->config.name, err);
    json_decref(options);
    return g->target ? 0 : -1;
}

// --- templates ----------------------------------------------------------------------------------------------------

static int compile(const struct group *g, struct payload **out, const char *what, const char *text, struct error *err)
{
    if (!text)
        return 0;
    *out = payload_compile_data(text, NULL, NULL, 0, false, g->config.data, err);
    return *out ? 0 : error_prefix(err, "%s \"%s\"", what, text);
}

static bool mentions(const char *pattern, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = strchr(pattern, '{'); p; p = strchr(p + 1, '{')) {
        if (!strncmp(p + 1, name, n) && p[1 + n] == '}')
            return true;
    }
    return false;
}

static int compile_templates(struct group *g, struct error *err)
{
    const struct group_config *c = &g->config;
    const struct model *m = c->model;
    const char *id = c->id_pattern ? c->id_pattern : "${groupId}-${index}";
    const char *client_id = c->client_id_pattern ? c->client_id_pattern : m ? m->client_id_pattern : NULL;
    if (mentions(id, "deviceId"))
        return error_set(err, ERR_INVALID, "id \"%s\" cannot contain ${deviceId}, it makes it", id);
    bool has_index = mentions(id, "index");
    g->ids_from_data = c->data && !has_index && strstr(id, "{data.");
    if (c->count > 1 && !has_index && !g->ids_from_data)
        return error_set(err, ERR_INVALID, "id \"%s\" must contain ${index}: %llu devices would have the same id", id,
                         (unsigned long long)c->count);
    if (c->will_payload && !c->will_topic)
        return error_set(err, ERR_INVALID, "the will has a payload but no topic");
    if (compile(g, &g->id_template, "id", id, err) ||
        compile(g, &g->client_id_template, "client id", client_id ? client_id : "${deviceId}", err) ||
        compile(g, &g->base_template, "topic base", c->topic_base ? c->topic_base : "${groupId}/${deviceId}", err) ||
        compile(g, &g->username_template, "username",
                c->username ? c->username
                : m         ? m->username
                            : NULL,
                err) ||
        compile(g, &g->will_topic_template, "topic of the will", c->will_topic, err) ||
        compile(g, &g->will_payload_template, "payload of the will", c->will_payload, err))
        return -1;
    if (!c->password)
        return 0;
    g->password_template = payload_compile_data(c->password, NULL, NULL, 0, false, c->data, err);
    return g->password_template ? 0 : error_prefix(err, "password"); // never quoted
}

// --- metrics ------------------------------------------------------------------------------------------------------

static struct metric *series(struct group *g, const char *name, enum metric_type type, const char *tags,
                             struct error *err)
{
    struct fleet *fleet = g->fleet;
    if (!fleet->config.env.metrics)
        return &fleet->nowhere;
    if (type == METRIC_GAUGE)
        return metrics_gauge(fleet->config.env.metrics, name, GAUGE_SUM, tags, err);
    return metrics_series(fleet->config.env.metrics, name, type, UNIT_NONE, tags, err);
}

static struct metric *state_series(struct group *g, const char *name, const char *state, struct error *err)
{
    struct buf tags;
    buf_create(&tags, 1024);
    struct metric *found = NULL;
    if (buf_printf(&tags, "group:%s,state:%s", g->config.name, state))
        error_set(err, ERR_LIMIT, "the name is too long");
    else
        found = series(g, name, METRIC_GAUGE, buf_cstr(&tags), err);
    buf_destroy(&tags);
    return found;
}

static int queue_series(struct group *g, const char *tags, struct error *err)
{
    struct metrics *m = g->fleet->config.env.metrics;
    g->send_queue.sum = m ? metrics_gauge(m, "send_queue", GAUGE_SUM, tags, err) : &g->fleet->nowhere;
    g->send_queue.max = m ? metrics_gauge(m, "send_queue_max", GAUGE_MAX, tags, err) : &g->fleet->nowhere;
    return g->send_queue.sum && g->send_queue.max ? 0 : -1;
}

static int find_series(struct group *g, struct error *err)
{
    struct buf tags;
    buf_create(&tags, 1024);
    if (buf_printf(&tags, "group:%s", g->config.name)) {
        buf_destroy(&tags);
        return error_set(err, ERR_LIMIT, "the name is too long");
    }
    g->generated = series(g, "samples_generated", METRIC_COUNTER, buf_cstr(&tags), err);
    g->late_ticks = g->generated ? series(g, "tick_late", METRIC_RATE, buf_cstr(&tags), err) : NULL;
    g->dropouts_counter = g->late_ticks ? series(g, "dropouts", METRIC_COUNTER, buf_cstr(&tags), err) : NULL;
    bool made = g->dropouts_counter && queue_series(g, buf_cstr(&tags), err) == 0;
    buf_destroy(&tags);
    if (!made)
        return -1;
    for (int s = 0; s < DEVICE_STATE_MAX; s++) {
        if (!(g->state_gauges[s] = state_series(g, "devices", device_state_name((enum device_state)s), err)))
            return -1;
    }
    for (int s = 0; s < CONN_STATE_MAX; s++) {
        if (!(g->conn_gauges[s] = state_series(g, "connections", conn_state_name((enum conn_state)s), err)))
            return -1;
    }
    return rules_series(g, err);
}

// --- devices ------------------------------------------------------------------------------------------------------

// Devices lie in blocks: all that a group begins with in one, those of each later growth in one more. A block goes when
// its last device has gone.
struct device_block {
    struct device_block *next;
    uint64_t n, live;
    struct device devices[];
};

static void delete_blocks(struct group *g)
{
    while (g->blocks) {
        struct device_block *block = g->blocks;
        g->blocks = block->next;
        free(block);
    }
}

static int make_device(struct group *g, struct device *d, uint64_t place, struct error *err)
{
    d->group = g;
    d->index = place + 1;
    d->id = slots_add(g->fleet->slots, d);
    if (!d->id)
        return error_set(err, ERR_LIMIT, "no room for another device");
    device_seed(d, 4, &d->rng);
    g->by_state[DEVICE_CREATED]++;
    g->by_conn[CONN_DISCONNECTED]++;
    return 0;
}

int group_make_devices(struct group *g, uint64_t count, struct error *err)
{
    const struct ownership *o = &g->fleet->config.owner;
    uint64_t n = ownership_count(o, count), more = n > g->owned ? n - g->owned : 0;
    if (n > UINT32_MAX)
        return error_set(err, ERR_LIMIT, "%llu devices are too many for one process", (unsigned long long)n);
    if (!more && g->devices)
        return 0;
    if (group_check_data(g, count, err))
        return -1;
    struct device **devices = realloc(g->devices, (n ? n : 1) * sizeof(struct device *));
    if (devices)
        g->devices = devices;
    struct device_block *block = calloc(1, sizeof(*block) + more * sizeof(struct device));
    if (!devices || !block) {
        free(block);
        return error_set(err, ERR_NO_MEMORY, "no memory for %llu devices", (unsigned long long)more);
    }
    block->n = more;
    block->next = g->blocks;
    g->blocks = block;
    for (uint64_t i = 0; i < more; i++) {
        struct device *d = g->devices[g->owned] = &block->devices[i];
        if (make_device(g, d, ownership_place(o, g->owned), err))
            return -1;
        block->live++;
        g->owned++; // group_delete looks at these
        if (g->fleet->config.on_made)
            g->fleet->config.on_made(g->fleet->config.on_made_arg, d, count);
    }
    return 0;
}

uint64_t group_population(const struct group *g)
{
    uint64_t n = 0;
    for (unsigned s = 0; s < DEVICE_STATE_MAX; s++)
        n += g->by_state[s];
    return n;
}

static void leave_block(struct group *g, const struct device *d)
{
    struct device_block **at = &g->blocks;
    while (*at && !(d >= (*at)->devices && d < (*at)->devices + (*at)->n))
        at = &(*at)->next;
    struct device_block *block = *at;
    if (!block || --block->live)
        return;
    *at = block->next;
    free(block);
}

void group_forget(struct group *g, struct device *d)
{
    const struct ownership *o = &g->fleet->config.owner;
    if (d->flags & FLAG_DEFERRED) // something of its end asked for one more look
        return;
    gateway_free(d);
    device_cancel_retry(d);
    if (g->fleet->config.on_gone)
        g->fleet->config.on_gone(g->fleet->config.on_made_arg, d);
    impairment_delete(d);
    device_undrop(d);
    if (d->flags & FLAG_FAILED)
        g->failed--;
    if (d->flags & FLAG_COUNTED)
        g->started--;
    g->by_state[d->state]--;
    g->by_conn[d->conn_state]--;
    slots_remove(g->fleet->slots, d->id);
    g->devices[ownership_count(o, d->index) - 1] = NULL;
    // A group that was made smaller has no places above its count: they may come back with new devices.
    while (g->owned > ownership_count(o, g->config.count) && !g->devices[g->owned - 1])
        g->owned--;
    if (g->launch_next > g->owned)
        g->launch_next = g->owned;
    leave_block(g, d);
}

int group_reserve_values(struct fleet *fleet, const struct model *m, struct error *err)
{
    unsigned n = 0;
    if (m && m->keeps_values && m->n_attributes > fleet->n_latest) {
        struct value *latest = realloc(fleet->latest, m->n_attributes * sizeof(*latest));
        if (!latest)
            return error_set(err, ERR_NO_MEMORY, "out of memory");
        fleet->latest = latest;
        fleet->n_latest = m->n_attributes;
    }
    for (unsigned i = 0; m && i < m->n_streams; i++)
        n = m->streams[i].n_attributes > n ? m->streams[i].n_attributes : n;
    if (n <= fleet->n_values)
        return 0;
    struct value *values = realloc(fleet->values, n * sizeof(*values));
    if (!values)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    fleet->values = values;
    fleet->n_values = n;
    return 0;
}

// After the adapter is known: what a token stands in for depends on it.
static int take_credentials(struct group *g, const json_t *json, struct error *err)
{
    bool mqtt = strcmp(g->adapter->name, "mqtt") == 0;
    g->credentials = credentials_new(json, g->config.data, !mqtt, err);
    if (json && !json_is_null(json) && !g->credentials)
        return error_prefix(err, "credentials");
    if ((g->password_template || g->config.secret) && credentials_have(g->credentials, FIELD_PASSWORD))
        return error_set(err, ERR_INVALID, "it has two passwords: one of its own, and one of its credentials");
    return 0;
}

uint32_t group_fields(const struct group *g)
{
    return credentials_mask(g->credentials) | (g->username_template ? 1u << FIELD_USERNAME : 0) |
           (g->password_template || g->config.secret ? 1u << FIELD_PASSWORD : 0);
}

// Whether the protocol can do with what its devices prove themselves with.
static int check_identity(const struct group *g, struct error *err)
{
    return ADAPTER_HAS(g->adapter, target_check) ? g->adapter->target_check(g->target, group_fields(g), err) : 0;
}

static int build(struct group *g, const struct group_config *config, struct error *err)
{
    return compile_templates(g, err) || find_series(g, err) || choose_adapter(g, err) ||
                   take_credentials(g, config->credentials, err) || open_target(g, config->options, err) ||
                   check_identity(g, err) || group_reserve_values(g->fleet, config->model, err) || relay_new(g, err) ||
                   proxies_new(g, config->proxies, err) || group_make_devices(g, config->count, err)
               ? -1
               : 0;
}

static int append(struct fleet *fleet, struct group *g, struct error *err)
{
    struct group **groups = realloc(fleet->groups, (fleet->n_groups + 1) * sizeof(struct group *));
    if (!groups)
        return error_set(err, ERR_NO_MEMORY, "out of memory");
    fleet->groups = groups;
    fleet->groups[fleet->n_groups++] = g;
    return 0;
}

struct group *fleet_add_group(struct fleet *fleet, const struct group_config *config, struct error *err)
{
    if (fleet->started) {
        error_set(err, ERR_STATE, "groups are added before the fleet is started");
        return NULL;
    }
    if (check_config(fleet, config, err)) {
        error_prefix(err, "group %s", config->name ? config->name : "?");
        return NULL;
    }
    struct group *g = calloc(1, sizeof(*g));
    if (!g) {
        error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    g->fleet = fleet;
    if (!own_config(g, config, err) && !build(g, config, err) && !append(fleet, g, err))
        return g;
    error_prefix(err, "group %s", config->name);
    group_delete(g);
    return NULL;
}

void group_delete(struct group *g)
{
    for (uint64_t i = 0; i < g->owned; i++) {
        if (!g->devices[i])
            continue;
        gateway_free(g->devices[i]);
        proxy_stop(g->devices[i]);
        device_cancel_retry(g->devices[i]);
        device_free_parts(g->devices[i]);
        impairment_delete(g->devices[i]);
        slots_remove(g->fleet->slots, g->devices[i]->id);
    }
    relay_delete(g);
    proxies_delete(g);
    group_launch_stop(g);
    group_dropouts_delete(g);
    if (g->target)
        g->adapter->target_delete(g->target);
    struct payload *templates[] = {g->id_template,          g->client_id_template, g->base_template,
                                   g->username_template,    g->password_template,  g->will_topic_template,
                                   g->will_payload_template};
    for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++)
        payload_delete(templates[i]);
    credentials_delete(g->credentials);
    struct group_config *c = &g->config;
    const char *strings[] = {c->name,     c->url,      c->id_pattern, c->client_id_pattern, c->topic_base,
                             c->username, c->password, c->will_topic, c->will_payload};
    if (c->secret)
        explicit_bzero((char *)(uintptr_t)c->secret, strlen(c->secret));
    free((char *)(uintptr_t)c->secret);
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
        free((char *)strings[i]);
    free((struct dropout *)(uintptr_t)c->dropouts);
    delete_blocks(g);
    commands_group_free(g);
    rules_group_free(g);
    free(g->devices);
    group_models_delete(g);
    free(g);
}
