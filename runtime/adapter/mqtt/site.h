// One server of a target: its name, addresses, transport, and the connections that wait to be connected to it. A target
// has the one of its URL and, with MQTT 5, those it was redirected to (4.11), which all of its connections share.
#pragma once
#include <stdbool.h>
#include "link/link.h"
#include "link/transport.h"

struct mqtt_conn;
struct mqtt_target;

struct mqtt_list { // of connections, linked through next and prev
    struct mqtt_conn *head, *tail;
    unsigned n;
};
void mqtt_list_append(struct mqtt_list *list, struct mqtt_conn *c);
void mqtt_list_remove(struct mqtt_list *list, struct mqtt_conn *c);

#define MQTT_MAX_ADDRS 8u
#define MQTT_MAX_SITES 16u // redirections to different servers that a target follows

struct mqtt_site {
    struct mqtt_target *target;
    struct mqtt_site *next; // the target's list of redirections
    char host[256];
    uint16_t port;
    enum { MQTT_UNRESOLVED, MQTT_RESOLVING, MQTT_RESOLVED } resolve;
    uint64_t ticket; // RESOLVING
    struct link_addr addrs[MQTT_MAX_ADDRS];
    unsigned n_addrs;
    unsigned preferred;          // the address that answered last
    struct mqtt_list waiting;    // state MQTT_WAITING, first come first served
    struct transport *transport; // NULL: plain TCP
};

int mqtt_site_create(struct mqtt_site *site, struct mqtt_target *target, const char *host, uint16_t port,
                     struct error *err) WARN_UNUSED_RESULT;
void mqtt_site_destroy(struct mqtt_site *site);
// Asks the resolver; the target is woken when the answer is there, who waits is told when there is none.
void mqtt_site_resolve(struct mqtt_site *site);
// Connections that may start as far as the site goes, or a name to be looked up for them.
static inline bool mqtt_site_has_work(const struct mqtt_site *site)
{
    return site->waiting.n && site->resolve != MQTT_RESOLVING;
}
// The site of a server reference (4.11): "HOST", "HOST:PORT" or "[V6]:PORT", the first that can be read of several with
// blanks between them. NULL: ERR_PROTOCOL it cannot be read, ERR_LIMIT too many different ones.
struct mqtt_site *mqtt_site_of_reference(struct mqtt_target *target, const char *text, size_t len, struct error *err);
