// Commands as requests: an adapter that lets a device serve (CoAP; HTTP unless its commands are polled) has each of the
// model's commands at /commands/NAME, and all of them at /command, as BASE/commands/NAME and BASE/command are for MQTT.
// POST or PUT the same documents there; the answer is the response.
#include <stdio.h>
#include <string.h>
#include "device/command_impl.h"

#define PREFIX "/commands/"
#define ALL "/command"

static const struct model *model_of(const struct device *d)
{
    return d->group->config.model;
}

bool commands_are_served(const struct device *d)
{
    const struct model *m = model_of(d);
    return m && m->n_commands && m->protocol && strcmp(m->protocol, "mqtt") != 0 && !d->group->polls_commands &&
           ADAPTER_HAS(d->group->adapter, serve);
}

static const struct model_command *find(const struct model *m, const char *path, size_t n)
{
    size_t k = sizeof(PREFIX) - 1;
    for (unsigned i = 0; n > k && !memcmp(path, PREFIX, k) && i < m->n_commands; i++) {
        const char *name = m->commands[i].name;
        if (strlen(name) == n - k && !memcmp(name, path + k, n - k))
            return &m->commands[i];
    }
    return NULL;
}

static bool is_all(const char *path, size_t n)
{
    return n == sizeof(ALL) - 1 && !memcmp(path, ALL, n);
}

bool commands_serve_at(const struct device *d, const char *path, size_t n)
{
    return commands_are_served(d) && !d->proxy && (is_all(path, n) || find(model_of(d), path, n));
}

void commands_serve(struct device *d)
{
    const struct model *m = model_of(d);
    struct error err = {0};
    char path[sizeof(PREFIX) + 256];
    int rc = device_serve_path(d, ALL, NULL, &err);
    for (unsigned i = 0; i < m->n_commands && !rc; i++) {
        int n = snprintf(path, sizeof(path), PREFIX "%s", m->commands[i].name);
        if (n > 0 && (size_t)n < sizeof(path))
            rc = device_serve_path(d, path, NULL, &err);
    }
    if (rc)
        device_fail(d, err.text);
}

bool commands_request(struct device *d, uint64_t ticket, const struct adapter_request *request)
{
    const char *query = memchr(request->path, '?', request->path_len);
    size_t n = query ? (size_t)(query - request->path) : request->path_len;
    if (!commands_serve_at(d, request->path, n))
        return false;
    if (strcmp(request->method, "POST") != 0 && strcmp(request->method, "PUT") != 0) {
        device_refuse(d, ticket, 405, "commands take POST or PUT");
        return true;
    }
    struct adapter_message m = {
        .topic = request->path, .topic_len = n, .payload = request->payload, .payload_len = request->payload_len};
    struct command_return to = {.asked = true, .ticket = ticket};
    command_arrived(d, find(model_of(d), request->path, n), &m, &to);
    return true;
}
