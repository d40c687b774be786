// Source addresses as ranges: a /8 is two numbers, not sixteen million addresses.
#include "link/source.h"
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "core/units.h"

#define SPREAD_ABOVE 4096u       // as long as fewer sockets are open, the kernel's choice is as good
#define SPREAD_FIRST 0x7f000002u // 127.0.0.2
#define SPREAD_COUNT 30u
#define COUNT_MAX (1ull << 62) // of one range
#define EXPECTED                                                                                                       \
    "an address (\"10.0.0.7\"), a network (\"127.0.0.0/24\", \"fd00::/64\") or a range (\"10.0.0.5-10.0.0.25\")"

struct range {
    uint8_t first[16]; // IPv4: the first four bytes
    uint32_t scope;    // IPv6 link-local: index of the interface
    uint64_t count;
};

struct family { // all ranges of AF_INET or of AF_INET6
    struct range *ranges;
    unsigned n;
    uint64_t total, next;
};

struct sources {
    struct family v4, v6;
    uint64_t spread_above, spread_next;
    struct link_addr current; // what sources_next returned
};

static size_t bytes_of(int family)
{
    return family == AF_INET ? 4 : 16;
}

// a + n, big-endian.
static void advance(uint8_t *a, size_t size, uint64_t n)
{
    for (size_t i = size; i-- && n;) {
        uint64_t sum = a[i] + (n & 0xff);
        a[i] = (uint8_t)sum;
        n = (n >> 8) + (sum >> 8);
    }
}

// last - first + 1, at most COUNT_MAX; 0: last comes before first.
static uint64_t distance(const uint8_t *first, const uint8_t *last, size_t size)
{
    if (memcmp(first, last, size) > 0)
        return 0;
    int64_t n = 0;
    for (size_t i = 0; i < size; i++) {
        if (n >= (int64_t)(COUNT_MAX >> 8))
            return COUNT_MAX;
        n = n * 256 + (int64_t)last[i] - (int64_t)first[i];
    }
    return (uint64_t)n + 1;
}

static void address(struct link_addr *out, int family, const struct range *r, uint64_t offset)
{
    memset(out, 0, sizeof *out);
    struct sockaddr_in *v4 = (struct sockaddr_in *)&out->addr;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->addr;
    uint8_t *at = family == AF_INET ? (uint8_t *)&v4->sin_addr : (uint8_t *)&v6->sin6_addr;
    out->addr.ss_family = (sa_family_t)family;
    out->len = family == AF_INET ? sizeof *v4 : sizeof *v6;
    memcpy(at, r->first, bytes_of(family));
    advance(at, bytes_of(family), offset);
    if (family == AF_INET6)
        v6->sin6_scope_id = r->scope;
}

static const char *address_text(const struct link_addr *a, char *dst, size_t size)
{
    const void *at = a->addr.ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)&a->addr)->sin_addr
                                                  : (const void *)&((const struct sockaddr_in6 *)&a->addr)->sin6_addr;
    return inet_ntop(a->addr.ss_family, at, dst, (socklen_t)size) ? dst : "?";
}

// The machine's own addresses, for people.
static void own_addresses(char *dst, size_t size)
{
    struct ifaddrs *all = NULL;
    size_t used = 0;
    dst[0] = '\0';
    if (getifaddrs(&all) < 0)
        return;
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        char one[INET6_ADDRSTRLEN];
        if (!i->ifa_addr || (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
            continue;
        struct link_addr a = {.len = 0};
        memcpy(&a.addr, i->ifa_addr,
               i->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        address_text(&a, one, sizeof one);
        size_t n = strlen(one);
        if (used + n + 3 > size)
            break;
        if (used) {
            memcpy(dst + used, ", ", 2);
            used += 2;
        }
        memcpy(dst + used, one, n + 1);
        used += n;
    }
    freeifaddrs(all);
}

static int check_bind(const struct link_addr *a, const char *text, struct error *err)
{
    int fd = socket(a->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int sys = 0;
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a->addr, a->len) < 0)
        sys = errno;
    if (fd >= 0)
        close(fd);
    if (!sys)
        return 0;
    char one[INET6_ADDRSTRLEN], own[256];
    address_text(a, one, sizeof one);
    if (sys != EADDRNOTAVAIL && sys != EAFNOSUPPORT) {
        errno = sys;
        return error_set_errno(err, "source \"%s\": cannot bind %s", text, one);
    }
    own_addresses(own, sizeof own);
    return error_set(err, ERR_NOT_FOUND, "source \"%s\": %s is no address of this machine; it has %s", text, one, own);
}

// One address; 0: no address. The zone ("%eth0") of an IPv6 address goes to *scope.
static int parse_address(char *text, uint8_t out[16], uint32_t *scope)
{
    char *zone = strchr(text, '%');
    if (inet_pton(AF_INET, text, out) == 1)
        return AF_INET;
    if (zone) {
        *zone = '\0';
        *scope = if_nametoindex(zone + 1);
    }
    int ok = inet_pton(AF_INET6, text, out) == 1 && (!zone || *scope);
    if (zone)
        *zone = '%';
    return ok ? AF_INET6 : 0;
}

// The part of an address that a prefix leaves free, set to 0 or to 1.
static void fill_host(uint8_t *a, size_t size, unsigned prefix, bool ones)
{
    for (size_t bit = prefix; bit < size * 8; bit++) {
        uint8_t mask = (uint8_t)(0x80u >> (bit % 8));
        a[bit / 8] = (uint8_t)(ones ? a[bit / 8] | mask : a[bit / 8] & ~mask);
    }
}

static int parse_network(int family, const char *text, const char *prefix_text, struct range *r, struct error *err)
{
    unsigned bits = (unsigned)bytes_of(family) * 8;
    uint8_t last[16];
    int64_t prefix;
    if (int_parse(prefix_text, 0, bits, &prefix, NULL) < 0)
        return error_set(err, ERR_INVALID, "source \"%s\": the prefix after / must be 0 to %u", text, bits);
    memcpy(last, r->first, sizeof last);
    fill_host(r->first, bits / 8, (unsigned)prefix, false);
    fill_host(last, bits / 8, (unsigned)prefix, true);
    r->count = distance(r->first, last, bits / 8);
    if (r->count > 2) {
        advance(r->first, bits / 8, 1);
        r->count -= family == AF_INET ? 2 : 1;
    }
    return 0;
}

static int parse_range(const char *text, struct range *r, int *family, struct error *err)
{
    char copy[128];
    size_t n = strlen(text);
    memset(r, 0, sizeof *r);
    if (n >= sizeof copy)
        return error_set(err, ERR_INVALID, "source \"%.40s…\": expected " EXPECTED, text);
    memcpy(copy, text, n + 1);
    char *slash = strchr(copy, '/'), *dash = slash ? NULL : strchr(copy, '-');
    // A dash may be part of an interface's name.
    if (dash && strchr(copy, '%'))
        dash = NULL;
    if (slash)
        *slash = '\0';
    if (dash)
        *dash = '\0';
    *family = parse_address(copy, r->first, &r->scope);
    if (!*family)
        return error_set(err, ERR_INVALID, "source \"%s\": expected " EXPECTED, text);
    r->count = 1;
    if (slash)
        return parse_network(*family, text, slash + 1, r, err);
    if (dash) {
        uint8_t last[16];
        uint32_t scope = 0;
        if (parse_address(dash + 1, last, &scope) != *family)
            return error_set(err, ERR_INVALID, "source \"%s\": expected two addresses of one family around the -",
                             text);
        r->count = distance(r->first, last, bytes_of(*family));
        if (!r->count)
            return error_set(err, ERR_INVALID, "source \"%s\": the range ends before it begins", text);
    }
    return 0;
}

static int add(struct sources *s, const json_t *entry, struct error *err)
{
    static const char *const kinds[] = {"an object", "a list", "a string", "a number",
                                        "a number",  "true",   "false",    "null"};
    struct range r;
    struct link_addr end;
    int family = 0;
    const char *text = json_string_value(entry);
    if (!text)
        return error_set(err, ERR_INVALID, "source: expected " EXPECTED ", or a list of those; got %s",
                         kinds[json_typeof(entry)]);
    if (parse_range(text, &r, &family, err) < 0)
        return -1;
    address(&end, family, &r, 0);
    if (check_bind(&end, text, err) < 0)
        return -1;
    address(&end, family, &r, r.count - 1);
    if (r.count > 1 && check_bind(&end, text, err) < 0)
        return -1;
    struct family *f = family == AF_INET ? &s->v4 : &s->v6;
    if (s->v4.n + s->v6.n == SOURCES_RANGES_MAX)
        return error_set(err, ERR_INVALID, "source: at most %u entries; networks and ranges count as one",
                         SOURCES_RANGES_MAX);
    struct range *grown = realloc(f->ranges, (f->n + 1) * sizeof *grown);
    if (!grown)
        return error_set(err, ERR_NO_MEMORY, "no memory for source addresses");
    f->ranges = grown;
    f->ranges[f->n++] = r;
    f->total = f->total + r.count > COUNT_MAX ? COUNT_MAX : f->total + r.count;
    return 0;
}

struct sources *sources_new(const json_t *option, uint64_t seed, struct error *err)
{
    struct sources *s = calloc(1, sizeof *s);
    int rc = 0;
    if (!s) {
        error_set(err, ERR_NO_MEMORY, "no memory for source addresses");
        return NULL;
    }
    s->spread_above = SPREAD_ABOVE;
    if (json_is_array(option)) {
        if (!json_array_size(option))
            rc = error_set(err, ERR_INVALID, "source: the list is empty; expected " EXPECTED);
        for (size_t i = 0; rc == 0 && i < json_array_size(option); i++)
            rc = add(s, json_array_get(option, i), err);
    } else if (option && !json_is_null(option)) {
        rc = add(s, option, err);
    }
    if (rc < 0) {
        sources_delete(s);
        return NULL;
    }
    s->v4.next = s->v4.total ? seed % s->v4.total : 0;
    s->v6.next = s->v6.total ? seed % s->v6.total : 0;
    s->spread_next = seed % SPREAD_COUNT;
    return s;
}

void sources_delete(struct sources *s)
{
    if (!s)
        return;
    free(s->v4.ranges);
    free(s->v6.ranges);
    free(s);
}

bool sources_automatic(const struct sources *s)
{
    return !s->v4.n && !s->v6.n;
}

uint64_t sources_count(const struct sources *s)
{
    return s->v4.total + s->v6.total;
}

void sources_spread_above(struct sources *s, uint64_t open_sockets)
{
    s->spread_above = open_sockets;
}

bool sources_have(const struct sources *s, int family)
{
    return sources_automatic(s) || (family == AF_INET ? s->v4.n : s->v6.n) > 0;
}

static const struct link_addr *spread(struct sources *s, const struct link_addr *to, uint64_t open_sockets)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&to->addr;
    struct range r = {.count = SPREAD_COUNT};
    if (open_sockets < s->spread_above || in->sin_family != AF_INET || ntohl(in->sin_addr.s_addr) >> 24 != 127)
        return NULL;
    uint32_t first = htonl(SPREAD_FIRST);
    memcpy(r.first, &first, sizeof first);
    address(&s->current, AF_INET, &r, s->spread_next++ % SPREAD_COUNT);
    return &s->current;
}

const struct link_addr *sources_next(struct sources *s, const struct link_addr *to, uint64_t open_sockets,
                                     struct error *err)
{
    int family = to->addr.ss_family;
    struct family *f = family == AF_INET ? &s->v4 : &s->v6;
    if (err)
        error_clear(err);
    if (sources_automatic(s))
        return spread(s, to, open_sockets);
    if (!f->n) {
        error_set(err, ERR_INVALID, "`source` has no %s address, which the target needs",
                  family == AF_INET ? "IPv4" : "IPv6");
        return NULL;
    }
    uint64_t offset = f->next;
    f->next = (f->next + 1) % f->total;
    const struct range *r = f->ranges;
    while (offset >= r->count)
        offset -= r++->count;
    address(&s->current, family, r, offset);
    return &s->current;
}
