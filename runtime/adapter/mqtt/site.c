#include "adapter/mqtt/site.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/mqtt/conn.h"
#include "adapter/mqtt/target.h"

void mqtt_list_append(struct mqtt_list *list, struct mqtt_conn *c)
{
    c->next = NULL;
    c->prev = list->tail;
    if (list->tail)
        list->tail->next = c;
    else
        list->head = c;
    list->tail = c;
    list->n++;
}

void mqtt_list_remove(struct mqtt_list *list, struct mqtt_conn *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        list->head = c->next;
    if (c->next)
        c->next->prev = c->prev;
    else
        list->tail = c->prev;
    c->next = c->prev = NULL;
    list->n--;
}

// What a transport asks for, of a connection.
static int credential(void *owner, enum transport_credential what, struct buf *out, struct error *err)
{
    static const enum adapter_field fields[] = {[TRANSPORT_CERT] = FIELD_TLS_CERT,
                                                [TRANSPORT_KEY] = FIELD_TLS_KEY,
                                                [TRANSPORT_NAME] = FIELD_TLS_NAME,
                                                [TRANSPORT_PSK_IDENTITY] = FIELD_PSK_IDENTITY,
                                                [TRANSPORT_PSK_KEY] = FIELD_PSK_KEY};
    const struct mqtt_conn *c = owner;
    return c->identity->field ? c->identity->field(c->owner, fields[what], out, err) : 0;
}

static int make_transport(struct mqtt_site *site, struct error *err)
{
    static const char *const http[] = {"http/1.1", NULL};
    struct mqtt_target *t = site->target;
    const json_t *options = t->options.json;
    struct transport_config config = {.loop = t->env.loop,
                                      .tls = t->tls,
                                      .websocket = t->websocket,
                                      .host = site->host,
                                      .port = site->port,
                                      .path = t->url.path,
                                      .subprotocol = "mqtt",
                                      .alpn = t->tls && t->websocket ? http : NULL,
                                      .tls_options = t->tls ? json_object_get(options, "tls") : NULL,
                                      .ws_options = t->websocket ? json_object_get(options, "websocket") : NULL,
                                      .credential = credential,
                                      .tls_latency = t->series.tls_latency,
                                      .tls_resumed = t->series.tls_resumed,
                                      .tls_full = t->series.tls_full};
    if (!t->tls && !t->websocket)
        return 0;
    site->transport = transport_new(&config, err);
    return site->transport ? 0 : -1;
}

int mqtt_site_create(struct mqtt_site *site, struct mqtt_target *target, const char *host, uint16_t port,
                     struct error *err)
{
    memset(site, 0, sizeof *site);
    site->target = target;
    site->port = port;
    snprintf(site->host, sizeof site->host, "%s", host);
    return make_transport(site, err);
}

void mqtt_site_destroy(struct mqtt_site *site)
{
    if (site->resolve == MQTT_RESOLVING)
        resolver_cancel(site->target->env.resolver, site->ticket);
    transport_delete(site->transport);
    site->transport = NULL;
}

static void resolved(void *arg, const struct link_addr *addrs, unsigned n, const struct error *err)
{
    struct mqtt_site *site = arg;
    site->ticket = 0;
    site->n_addrs = n < MQTT_MAX_ADDRS ? n : MQTT_MAX_ADDRS;
    memcpy(site->addrs, addrs, site->n_addrs * sizeof *addrs);
    site->resolve = n ? MQTT_RESOLVED : MQTT_UNRESOLVED;
    site->preferred = 0;
    if (n) {
        mqtt_target_wake(site->target);
        return;
    }
    struct error why = *err;
    for (unsigned left = site->waiting.n; left && site->waiting.head; left--)
        mqtt_conn_unreachable(site->waiting.head, &why);
}

void mqtt_site_resolve(struct mqtt_site *site)
{
    site->resolve = MQTT_RESOLVING;
    uint64_t ticket = resolver_lookup(site->target->env.resolver, site->host, site->port, resolved, site);
    if (site->resolve == MQTT_RESOLVING)
        site->ticket = ticket;
}

static struct mqtt_site *find(struct mqtt_target *t, const struct url *url)
{
    if (strcmp(t->origin.host, url->host) == 0 && t->origin.port == url->port)
        return &t->origin;
    struct mqtt_site *site = t->redirections;
    while (site && (strcmp(site->host, url->host) != 0 || site->port != url->port))
        site = site->next;
    return site;
}

static struct mqtt_site *add(struct mqtt_target *t, const struct url *url, struct error *err)
{
    if (t->n_redirections == MQTT_MAX_SITES) {
        error_set(err, ERR_LIMIT, "redirected to more than %u different servers", MQTT_MAX_SITES);
        return NULL;
    }
    struct mqtt_site *site = malloc(sizeof *site);
    if (!site) {
        error_set(err, ERR_NO_MEMORY, "no memory for a redirection");
        return NULL;
    }
    if (mqtt_site_create(site, t, url->host, url->port, err) < 0) {
        free(site);
        return NULL;
    }
    site->next = t->redirections;
    t->redirections = site;
    t->n_redirections++;
    return site;
}

struct mqtt_site *mqtt_site_of_reference(struct mqtt_target *t, const char *text, size_t len, struct error *err)
{
    char one[300];
    struct url url;
    for (size_t at = 0; at < len;) {
        size_t n = 0;
        while (at + n < len && text[at + n] != ' ')
            n++;
        if (n && n < sizeof one) {
            memcpy(one, text + at, n);
            one[n] = '\0';
            bool ok = !memchr(one, '\0', n) && url_parse(one, t->url.scheme, &url, NULL) == 0;
            if (ok && strcmp(url.scheme, t->url.scheme) == 0 && !url.path[0] && !url.user[0]) {
                struct mqtt_site *site = find(t, &url);
                return site ? site : add(t, &url, err);
            }
        }
        at += n + 1;
    }
    error_set(err, ERR_PROTOCOL, "the broker refers to \"%.*s\", which is no HOST:PORT (MQTT 4.11)",
              (int)(len < 100 ? len : 100), text);
    return NULL;
}
