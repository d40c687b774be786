#include <arpa/inet.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "core/units.h"
#include "link/url.h"

struct scheme_port {
    const char *scheme;
    uint16_t port;
};

static const struct scheme_port scheme_ports[] = {
    {"mqtt", 1883},  {"mqtts", 8883},    {"ws", 80},          {"wss", 443}, {"coap", 5683},
    {"coaps", 5684}, {"coap+tcp", 5683}, {"coaps+tcp", 5684}, {"http", 80}, {"https", 443}};

static int set_part(char *dst, size_t size, const char *from, size_t n, const char *what, const char *shown,
                    struct error *err)
{
    if (n >= size)
        return error_set(err, ERR_INVALID, "URL \"%s\": the %s is longer than %zu bytes", shown, what, size - 1);
    memcpy(dst, from, n);
    dst[n] = '\0';
    return 0;
}

static int check_chars(const char *text, const char *shown, struct error *err)
{
    if (!*text)
        return error_set(err, ERR_INVALID, "an empty URL: expected scheme://host[:port]");
    for (size_t i = 0; text[i]; i++)
        if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f)
            return error_set(err, ERR_INVALID, "URL \"%s\": a space or control character at position %zu", shown,
                             i + 1);
    return 0;
}

static int parse_scheme(const char *text, const char *dflt, struct url *out, const char *shown, const char **rest,
                        struct error *err)
{
    const char *sep = strstr(text, "://");
    *rest = sep ? sep + 3 : text;
    const char *from = sep ? text : dflt;
    size_t n = sep ? (size_t)(sep - text) : strlen(dflt);
    if (set_part(out->scheme, sizeof out->scheme, from, n, "scheme", shown, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)out->scheme[i];
        out->scheme[i] = (char)tolower(c);
        if (!(isalpha(c) || (i && (isdigit(c) || c == '+' || c == '-' || c == '.'))))
            return error_set(err, ERR_INVALID, "URL \"%s\": what stands before :// is not a scheme", shown);
    }
    if (!n)
        return error_set(err, ERR_INVALID, "URL \"%s\": no scheme in front of ://", shown);
    return 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// %XX decoding of user or password.
static int decode(char *dst, size_t size, const char *from, size_t n, const char *what, const char *shown,
                  struct error *err)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)from[i];
        if (c == '%') {
            int high = i + 1 < n ? hex_value(from[i + 1]) : -1;
            int low = i + 2 < n ? hex_value(from[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0))
                return error_set(err, ERR_INVALID, "URL \"%s\": the %s has a %% without two hex digits, or %%00", shown,
                                 what);
            c = high * 16 + low;
            i += 2;
        }
        if (used + 1 >= size)
            return error_set(err, ERR_INVALID, "URL \"%s\": the %s is longer than %zu bytes", shown, what, size - 1);
        dst[used++] = (char)c;
    }
    dst[used] = '\0';
    return 0;
}

static int parse_userinfo(const char *p, size_t n, const char *shown, struct url *out, struct error *err)
{
    const char *colon = memchr(p, ':', n);
    size_t user_len = colon ? (size_t)(colon - p) : n;
    if (decode(out->user, sizeof out->user, p, user_len, "user", shown, err) < 0)
        return -1;
    if (!colon)
        return 0;
    return decode(out->password, sizeof out->password, colon + 1, n - user_len - 1, "password", shown, err);
}

static int check_host(const char *host, const char *shown, struct error *err)
{
    if (!*host)
        return error_set(err, ERR_INVALID, "URL \"%s\": no host", shown);
    for (const char *c = host; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("-._", *c))
            return error_set(err, ERR_INVALID,
                             "URL \"%s\": \"%c\" in the host (letters, digits, - . _; other names in punycode)", shown,
                             isprint((unsigned char)*c) ? *c : '?');
    return 0;
}

static int check_v6(const char *host, const char *shown, struct error *err)
{
    struct in6_addr addr;
    char bare[64];
    size_t n = strcspn(host, "%"); // without the zone
    if (n < sizeof bare) {
        memcpy(bare, host, n);
        bare[n] = '\0';
        if (inet_pton(AF_INET6, bare, &addr) == 1)
            return 0;
    }
    return error_set(err, ERR_INVALID, "URL \"%s\": what stands in brackets is not an IPv6 address", shown);
}

static int parse_port(const char *p, size_t n, const char *shown, struct url *out, struct error *err)
{
    char digits[8];
    int64_t port = 0;
    if (n < sizeof digits) {
        memcpy(digits, p, n);
        digits[n] = '\0';
    }
    if (n >= sizeof digits || strspn(digits, "0123456789") != n || int_parse(digits, 1, 65535, &port, NULL) < 0)
        return error_set(err, ERR_INVALID, "URL \"%s\": the port must be a number from 1 to 65535", shown);
    out->port = (uint16_t)port;
    return 0;
}

static int parse_authority(const char *p, size_t n, const char *shown, struct url *out, struct error *err)
{
    const char *end = p + n, *port = NULL;
    for (const char *at = end; at-- > p;)
        if (*at == '@') {
            if (parse_userinfo(p, (size_t)(at - p), shown, out, err) < 0)
                return -1;
            p = at + 1;
            break;
        }
    if (p < end && *p == '[') {
        const char *close = memchr(p, ']', (size_t)(end - p));
        if (!close || (close + 1 < end && close[1] != ':'))
            return error_set(err, ERR_INVALID, "URL \"%s\": expected [IPv6 address] or [IPv6 address]:port", shown);
        if (set_part(out->host, sizeof out->host, p + 1, (size_t)(close - p) - 1, "host", shown, err) < 0 ||
            check_v6(out->host, shown, err) < 0)
            return -1;
        port = close + 1 < end ? close + 2 : NULL;
    } else {
        const char *colon = memchr(p, ':', (size_t)(end - p));
        if (colon && memchr(colon + 1, ':', (size_t)(end - colon) - 1))
            return error_set(err, ERR_INVALID, "URL \"%s\": more than one colon; an IPv6 address goes in brackets",
                             shown);
        if (set_part(out->host, sizeof out->host, p, (size_t)((colon ? colon : end) - p), "host", shown, err) < 0 ||
            check_host(out->host, shown, err) < 0)
            return -1;
        port = colon ? colon + 1 : NULL;
    }
    return port ? parse_port(port, (size_t)(end - port), shown, out, err) : 0;
}

// A scheme in front of "://"; without one the text begins with the userinfo.
static size_t scheme_length(const char *text)
{
    const char *sep = strstr(text, "://");
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    return sep && n == (size_t)(sep - text) ? n + 3 : 0;
}

char *url_redact(const char *text, char *dst, size_t size)
{
    // Up to the last @ anywhere: in a broken URL a password may hold what ends an authority.
    const char *at = strrchr(text, '@');
    size_t scheme = scheme_length(text);
    bool user = at && at >= text + scheme;
    const char *rest = user ? at : text;
    size_t n = strcspn(rest, "?");
    snprintf(dst, size, "%.*s%s%.*s%s", user && scheme < 32 ? (int)scheme : 0, text, user ? "***" : "", (int)n, rest,
             rest[n] ? "?***" : "");
    return dst;
}

static int parse(const char *text, const char *shown, const char *default_scheme, uint16_t default_port,
                 struct url *out, struct error *err)
{
    const char *rest;
    if (parse_scheme(text, default_scheme, out, shown, &rest, err) < 0)
        return -1;
    size_t n = strcspn(rest, "/?#");
    if (rest[n] && rest[n] != '/')
        return error_set(err, ERR_INVALID, "URL \"%s\": expected / in front of %c", shown, rest[n]);
    if (parse_authority(rest, n, shown, out, err) < 0 ||
        set_part(out->path, sizeof out->path, rest + n, strlen(rest + n), "path", shown, err) < 0)
        return -1;
    for (size_t i = 0; !out->port && i < sizeof scheme_ports / sizeof *scheme_ports; i++)
        if (strcmp(out->scheme, scheme_ports[i].scheme) == 0)
            out->port = scheme_ports[i].port;
    if (!out->port)
        out->port = default_port;
    if (!out->port)
        return error_set(err, ERR_INVALID, "URL \"%s\": %s has no default port, write host:port", shown, out->scheme);
    return 0;
}

int url_parse(const char *text, const char *default_scheme, struct url *out, struct error *err)
{
    return url_parse_port(text, default_scheme, 0, out, err);
}

int url_parse_port(const char *text, const char *default_scheme, uint16_t default_port, struct url *out,
                   struct error *err)
{
    char shown[200]; // what errors quote
    memset(out, 0, sizeof *out);
    url_redact(text, shown, sizeof shown);
    return check_chars(text, shown, err) < 0 ? -1 : parse(text, shown, default_scheme, default_port, out, err);
}

char *url_display(const struct url *u, char *dst, size_t size)
{
    bool v6 = strchr(u->host, ':') != NULL;
    size_t n = strcspn(u->path, "?");
    snprintf(dst, size, "%s://%s%s%s:%u%.*s%s", u->scheme, v6 ? "[" : "", u->host, v6 ? "]" : "", (unsigned)u->port,
             (int)n, u->path, u->path[n] ? "?***" : "");
    return dst;
}
