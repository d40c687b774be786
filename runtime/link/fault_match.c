#include "link/fault_match.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "core/option.h"
#include "core/units.h"

#define NAME_MAX_BYTES 253u // RFC 1035
#define PROTOCOL_MAX 31u
#define DNS_PORT 53u
#define HOST_EXPECTED                                                                                                  \
    "an address (\"10.0.0.7\"), a network (\"10.0.0.0/8\", \"fd00::/64\") or a name (\"broker.example\")"

struct host {
    char *name;        // NULL: a network
    uint8_t bytes[16]; // IPv4 as ::ffff:a.b.c.d
    unsigned prefix;   // of those 128 bits
};

struct fault_match {
    struct host *hosts;
    uint16_t *ports;
    char (*protocols)[PROTOCOL_MAX + 1];
    unsigned n_hosts, n_ports, n_protocols;
};

// --- reading

static void v4_mapped(uint8_t out[16], const void *v4)
{
    memset(out, 0, 10);
    out[10] = out[11] = 0xff;
    memcpy(out + 12, v4, 4);
}

static bool is_name(const char *s, size_t n)
{
    bool letter = false;
    if (!n || n > NAME_MAX_BYTES || s[0] == '-' || s[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)s[i]) && !strchr("-_.", s[i]))
            return false;
        if (s[i] == '.' && i && s[i - 1] == '.')
            return false;
        letter = letter || !strchr("0123456789.", s[i]);
    }
    return letter; // 10.0.0.300 is a broken address, no name
}

static int parse_network(const char *label, const char *text, struct host *h, struct error *err)
{
    char copy[64];
    uint8_t v4[4];
    int64_t prefix;
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    if (n >= sizeof copy)
        return error_set(err, ERR_INVALID, "%s: expected " HOST_EXPECTED ", got \"%.60s\"", label, text);
    memcpy(copy, text, n);
    copy[n] = '\0';
    bool is4 = inet_pton(AF_INET, copy, v4) == 1;
    if (is4)
        v4_mapped(h->bytes, v4);
    else if (inet_pton(AF_INET6, copy, h->bytes) != 1)
        return error_set(err, ERR_INVALID, "%s: expected " HOST_EXPECTED ", got \"%.60s\"", label, text);
    prefix = is4 ? 32 : 128;
    if (slash && int_parse(slash + 1, 0, prefix, &prefix, NULL))
        return error_set(err, ERR_INVALID, "%s: \"%.60s\": the prefix after / must be 0 to %d", label, text,
                         is4 ? 32 : 128);
    h->prefix = (unsigned)prefix + (is4 ? 96 : 0);
    for (unsigned bit = h->prefix; bit < 128; bit++)
        h->bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
    return 0;
}

static int parse_host(const char *label, const json_t *v, struct fault_match *m, struct error *err)
{
    struct host *h = &m->hosts[m->n_hosts];
    const char *text = json_string_value(v);
    if (!text)
        return option_expected(label, HOST_EXPECTED, v, err);
    size_t n = strlen(text);
    if (n > 1 && text[n - 1] == '.')
        n--; // the root's dot says nothing more
    if (!is_name(text, n)) {
        if (parse_network(label, text, h, err))
            return -1;
    } else if (!(h->name = strndup(text, n))) {
        return error_set(err, ERR_NO_MEMORY, "no memory for a partition");
    }
    m->n_hosts++;
    return 0;
}

static int parse_port(const char *label, const json_t *v, struct fault_match *m, struct error *err)
{
    uint32_t port;
    if (option_count(label, v, 1, 65535, &port, err))
        return -1;
    m->ports[m->n_ports++] = (uint16_t)port;
    return 0;
}

static int parse_protocol(const char *label, const json_t *v, struct fault_match *m, struct error *err)
{
    // Words that a person might take for protocols here: they would never match anything.
    static const char *const transports[][2] = {
        {"mqtts", "mqtt"}, {"ws", "mqtt"}, {"wss", "mqtt"}, {"coaps", "coap"}, {"https", "http"},
        {"tls", NULL},     {"tcp", NULL},  {"udp", NULL},   {"dtls", NULL},    {"websocket", NULL}};
    static const char expected[] = "\"dns\", \"mqtt\", \"coap\", \"http\" or the name of another adapter";
    const char *text = json_string_value(v);
    size_t n = text ? strlen(text) : 0;
    if (!n || n > PROTOCOL_MAX || text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-")])
        return option_expected(label, expected, v, err);
    for (size_t i = 0; i < sizeof transports / sizeof transports[0]; i++) {
        if (strcmp(text, transports[i][0]) == 0)
            return error_set(err, ERR_INVALID, "%s: expected %s, got \"%s\"%s%s%s", label, expected, text,
                             transports[i][1] ? "; with TLS or WebSocket it is still \"" : "",
                             transports[i][1] ? transports[i][1] : "", transports[i][1] ? "\"" : "");
    }
    memcpy(m->protocols[m->n_protocols++], text, n + 1);
    return 0;
}

typedef int item_fn(const char *label, const json_t *v, struct fault_match *m, struct error *err);

// Entries of a list; a value that is none is one entry. 0: err.
static size_t entries(const char *where, const json_t *v, struct error *err)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (!n)
        error_set(err, ERR_INVALID, "%s: the list is empty; leave it out for all", where);
    else if (n > MATCH_ITEMS_MAX)
        error_set(err, ERR_INVALID, "%s: at most %u entries", where, MATCH_ITEMS_MAX);
    return n <= MATCH_ITEMS_MAX ? n : 0;
}

static int read_entries(const char *where, const json_t *v, item_fn *fn, struct fault_match *m, struct error *err)
{
    char inner[176];
    if (!json_is_array(v))
        return fn(where, v, m, err);
    for (size_t i = 0; i < json_array_size(v); i++) {
        snprintf(inner, sizeof inner, "%s[%zu]", where, i);
        if (fn(inner, json_array_get(v, i), m, err))
            return -1;
    }
    return 0;
}

static int parse_lists(const char *label, const json_t *v, struct fault_match *m, struct error *err)
{
    const json_t *hosts = json_object_get(v, "hosts"), *ports = json_object_get(v, "ports");
    const json_t *protocols = json_object_get(v, "protocols");
    char where[3][144];
    size_t n[3] = {0};
    snprintf(where[0], sizeof where[0], "%.90s.hosts", label);
    snprintf(where[1], sizeof where[1], "%.90s.ports", label);
    snprintf(where[2], sizeof where[2], "%.90s.protocols", label);
    if ((hosts && !(n[0] = entries(where[0], hosts, err))) || (ports && !(n[1] = entries(where[1], ports, err))) ||
        (protocols && !(n[2] = entries(where[2], protocols, err))))
        return -1;
    m->hosts = calloc(n[0] + 1, sizeof *m->hosts);
    m->ports = calloc(n[1] + 1, sizeof *m->ports);
    m->protocols = calloc(n[2] + 1, sizeof *m->protocols);
    if (!m->hosts || !m->ports || !m->protocols)
        return error_set(err, ERR_NO_MEMORY, "no memory for a partition");
    return (hosts && read_entries(where[0], hosts, parse_host, m, err)) ||
                   (ports && read_entries(where[1], ports, parse_port, m, err)) ||
                   (protocols && read_entries(where[2], protocols, parse_protocol, m, err))
               ? -1
               : 0;
}

int match_parse(const char *label, const json_t *v, struct fault_match **out, struct error *err)
{
    *out = NULL;
    if (!json_object_get(v, "hosts") && !json_object_get(v, "ports") && !json_object_get(v, "protocols"))
        return 0;
    struct fault_match *m = calloc(1, sizeof *m);
    if (!m)
        return error_set(err, ERR_NO_MEMORY, "no memory for a partition");
    if (parse_lists(label, v, m, err)) {
        match_delete(m);
        return -1;
    }
    *out = m;
    return 0;
}

void match_delete(struct fault_match *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->n_hosts; i++)
        free(m->hosts[i].name);
    free(m->hosts);
    free(m->ports);
    free(m->protocols);
    free(m);
}

// --- writing

static bool is_v4(const struct host *h)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return h->prefix >= 96 && memcmp(h->bytes, mapped, sizeof mapped) == 0;
}

static json_t *host_json(const struct host *h)
{
    char text[INET6_ADDRSTRLEN];
    if (h->name)
        return json_string(h->name);
    bool v4 = is_v4(h);
    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? h->bytes + 12 : h->bytes, text, sizeof text);
    if (h->prefix == 128)
        return json_string(text);
    return json_sprintf("%s/%u", text, v4 ? h->prefix - 96 : h->prefix);
}

int match_json(const struct fault_match *m, json_t *out)
{
    json_t *hosts = json_array(), *ports = json_array(), *protocols = json_array();
    int rc = 0;
    for (unsigned i = 0; i < m->n_hosts; i++)
        rc |= json_array_append_new(hosts, host_json(&m->hosts[i]));
    for (unsigned i = 0; i < m->n_ports; i++)
        rc |= json_array_append_new(ports, json_integer(m->ports[i]));
    for (unsigned i = 0; i < m->n_protocols; i++)
        rc |= json_array_append_new(protocols, json_string(m->protocols[i]));
    if (m->n_hosts)
        rc |= json_object_set(out, "hosts", hosts);
    if (m->n_ports)
        rc |= json_object_set(out, "ports", ports);
    if (m->n_protocols)
        rc |= json_object_set(out, "protocols", protocols);
    json_decref(hosts);
    json_decref(ports);
    json_decref(protocols);
    return rc ? -1 : 0;
}

static void add_words(char *dst, size_t size, const char *words)
{
    size_t n = strlen(dst);
    snprintf(dst + n, size - n, "%s%s", n && *words != ' ' ? " " : "", words);
}

#define WORDS 2u // entries of a list that are named

// " hosts a b and 3 more"; noun "": the entries alone.
static void add_list(char *dst, size_t size, const json_t *list, const char *noun)
{
    char text[NAME_MAX_BYTES + 1];
    size_t n = json_array_size(list);
    if (n && *noun) {
        snprintf(text, sizeof text, "%s%s", noun, n > 1 ? "s" : "");
        add_words(dst, size, text);
    }
    for (size_t i = 0; i < n && i < WORDS; i++) {
        const json_t *v = json_array_get(list, i);
        if (json_is_integer(v))
            snprintf(text, sizeof text, "%d", (int)json_integer_value(v));
        else
            snprintf(text, sizeof text, "%s", json_string_value(v));
        add_words(dst, size, text);
    }
    if (n > WORDS) {
        snprintf(text, sizeof text, "and %zu more", n - WORDS);
        add_words(dst, size, text);
    }
}

char *match_describe(const struct fault_match *m, char *dst, size_t size)
{
    json_t *lists = json_object();
    dst[0] = '\0';
    if (!match_json(m, lists)) {
        add_list(dst, size, json_object_get(lists, "protocols"), "");
        add_list(dst, size, json_object_get(lists, "hosts"), "host");
        add_list(dst, size, json_object_get(lists, "ports"), *dst ? "on port" : "port");
    }
    json_decref(lists);
    return dst;
}

// --- matching

// The address as 128 bits and the port; false: none is known.
static bool address(const struct link_addr *a, uint8_t out[16], uint16_t *port)
{
    if (a->len && a->addr.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->addr;
        v4_mapped(out, &v4->sin_addr);
        *port = ntohs(v4->sin_port);
        return true;
    }
    if (a->len && a->addr.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a->addr;
        memcpy(out, &v6->sin6_addr, 16);
        *port = ntohs(v6->sin6_port);
        return true;
    }
    return false;
}

static bool in_network(const struct host *h, const uint8_t a[16])
{
    unsigned whole = h->prefix / 8, rest = h->prefix % 8;
    if (memcmp(h->bytes, a, whole) != 0)
        return false;
    return !rest || (h->bytes[whole] ^ a[whole]) >> (8 - rest) == 0;
}

static bool same_name(const char *name, const char *host)
{
    size_t n = strlen(name);
    return host && strncasecmp(name, host, n) == 0 && (!host[n] || strcmp(host + n, ".") == 0);
}

static bool host_listed(const struct fault_match *m, const char *name, const uint8_t *a)
{
    for (unsigned i = 0; i < m->n_hosts; i++) {
        const struct host *h = &m->hosts[i];
        if (h->name ? same_name(h->name, name) : a && in_network(h, a))
            return true;
    }
    return !m->n_hosts;
}

static bool port_listed(const struct fault_match *m, uint16_t port)
{
    for (unsigned i = 0; i < m->n_ports; i++) {
        if (m->ports[i] == port)
            return true;
    }
    return !m->n_ports;
}

static bool protocol_listed(const struct fault_match *m, const char *protocol)
{
    for (unsigned i = 0; protocol && i < m->n_protocols; i++) {
        if (strcmp(m->protocols[i], protocol) == 0)
            return true;
    }
    return !m->n_protocols;
}

bool match_peer(const struct fault_match *m, const struct path_peer *peer, const char *protocol)
{
    uint8_t bytes[16];
    uint16_t port = 0;
    bool lookup = protocol && strcmp(protocol, "dns") == 0;
    bool known = !lookup && address(&peer->addr, bytes, &port);
    return protocol_listed(m, protocol) && port_listed(m, lookup ? DNS_PORT : port) &&
           host_listed(m, lookup ? NULL : peer->host, known ? bytes : NULL);
}
