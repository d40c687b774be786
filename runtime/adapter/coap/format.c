#include "adapter/coap/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/units.h"

#define ROOM_MAX (64u << 10)

// --- methods ------------------------------------------------------------------------------------------------------

const char *const coap_method_names[] = {"GET", "POST", "PUT", "DELETE", "FETCH", "PATCH", "iPATCH", NULL};

int coap_method_code(const char *name)
{
    for (int i = 0; coap_method_names[i]; i++)
        if (strcmp(coap_method_names[i], name) == 0)
            return i + 1;
    return strcmp(name, "OBSERVE") == 0 ? COAP_METHOD_OBSERVE : 0;
}

const char *coap_method_name(int code)
{
    return code >= COAP_METHOD_GET && code <= COAP_METHOD_IPATCH ? coap_method_names[code - 1] : NULL;
}

// --- content formats ----------------------------------------------------------------------------------------------

static const struct {
    uint16_t number;
    const char *name;
} formats[] = {{0, "text/plain"},
               {40, "application/link-format"},
               {41, "application/xml"},
               {42, "application/octet-stream"},
               {47, "application/exi"},
               {50, "application/json"},
               {51, "application/json-patch+json"},
               {52, "application/merge-patch+json"},
               {60, "application/cbor"},
               {61, "application/cwt"},
               {62, "application/multipart-core"},
               {63, "application/cbor-seq"},
               {64, "application/link-format+cbor"},
               {110, "application/senml+json"},
               {111, "application/sensml+json"},
               {112, "application/senml+cbor"},
               {113, "application/sensml+cbor"},
               {256, "application/coap-group+json"},
               {257, "application/concise-problem-details+cbor"},
               {310, "application/senml+xml"},
               {320, "application/senml-etch+json"},
               {322, "application/senml-etch+cbor"},
               {11542, "application/vnd.oma.lwm2m+tlv"},
               {11543, "application/vnd.oma.lwm2m+json"},
               {11544, "application/vnd.oma.lwm2m+cbor"}};

int coap_format_number(const char *media_type, size_t n)
{
    static const char utf8[] = "text/plain;charset=utf-8";
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strlen(formats[i].name) == n && strncasecmp(formats[i].name, media_type, n) == 0)
            return formats[i].number;
    char compact[64];
    size_t used = 0;
    for (size_t i = 0; i < n && used < sizeof compact; i++)
        if (media_type[i] != ' ')
            compact[used++] = media_type[i];
    return used == sizeof utf8 - 1 && strncasecmp(compact, utf8, used) == 0 ? 0 : -1;
}

const char *coap_format_name(unsigned number)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].number == number)
            return formats[i].name;
    return NULL;
}

// --- options ------------------------------------------------------------------------------------------------------

enum kind { OPAQUE, UINT, TEXT, EMPTY, FORMAT };
enum where { REQUEST = 1, RESPONSE = 2, BOTH = 3 };

static const struct option_info {
    const char *name;
    uint16_t number;
    uint8_t kind, where;
    uint16_t min, max; // bytes of the value
} infos[] = {{"If-Match", 1, OPAQUE, REQUEST, 0, 8},
             {"Uri-Host", 3, TEXT, REQUEST, 1, 255},
             {"ETag", 4, OPAQUE, BOTH, 1, 8},
             {"If-None-Match", 5, EMPTY, REQUEST, 0, 0},
             {"Observe", 6, UINT, RESPONSE, 0, 3},
             {"Uri-Port", 7, UINT, REQUEST, 0, 2},
             {"Location-Path", 8, TEXT, RESPONSE, 0, 255},
             {"Uri-Path", 11, TEXT, REQUEST, 0, 255},
             {"Content-Format", 12, FORMAT, BOTH, 0, 2},
             {"Max-Age", 14, UINT, RESPONSE, 0, 4},
             {"Uri-Query", 15, TEXT, REQUEST, 0, 255},
             {"Hop-Limit", 16, UINT, REQUEST, 1, 1},
             {"Accept", 17, FORMAT, REQUEST, 0, 2},
             {"Location-Query", 20, TEXT, RESPONSE, 0, 255},
             {"Size2", 28, UINT, BOTH, 0, 4},
             {"Proxy-Uri", 35, TEXT, REQUEST, 1, 1034},
             {"Proxy-Scheme", 39, TEXT, REQUEST, 1, 255},
             {"Size1", 60, UINT, BOTH, 0, 4},
             {"Echo", 252, OPAQUE, BOTH, 1, 40},
             {"No-Response", 258, UINT, REQUEST, 0, 1},
             {"Request-Tag", 292, OPAQUE, REQUEST, 0, 8}};
#define N_INFOS (sizeof infos / sizeof *infos)

static const struct option_info *info_of(unsigned number)
{
    for (size_t i = 0; i < N_INFOS; i++)
        if (infos[i].number == number)
            return &infos[i];
    return NULL;
}

const char *coap_option_name(unsigned number)
{
    const struct option_info *info = info_of(number);
    return info ? info->name : NULL;
}

uint32_t coap_uint(const uint8_t *bytes, size_t n)
{
    uint32_t v = 0;
    for (size_t i = 0; i < n && i < 4; i++)
        v = v << 8 | bytes[i];
    return v;
}

static int append_hex(const uint8_t *bytes, size_t n, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t *to = buf_reserve(out, (uint32_t)(2 + 2 * n));
    if (!to)
        return -1;
    *to++ = '0';
    *to++ = 'x';
    for (size_t i = 0; i < n; i++) {
        *to++ = (uint8_t)digits[bytes[i] >> 4];
        *to++ = (uint8_t)digits[bytes[i] & 15];
    }
    out->len += (uint32_t)(2 + 2 * n);
    return 0;
}

int coap_option_text(unsigned number, const uint8_t *bytes, size_t n, struct buf *out)
{
    const struct option_info *info = info_of(number);
    enum kind kind = info ? (enum kind)info->kind : OPAQUE;
    const char *name = kind == FORMAT ? coap_format_name(coap_uint(bytes, n)) : NULL;
    if (name)
        return buf_append_str(out, name);
    if (kind == UINT || kind == FORMAT)
        return buf_append_int(out, coap_uint(bytes, n));
    if (kind == TEXT)
        return buf_append(out, bytes, n);
    return kind == EMPTY ? 0 : append_hex(bytes, n, out);
}

// --- making a list of options -------------------------------------------------------------------------------------

void coap_fields_create(struct coap_fields *f)
{
    f->n = 0;
    buf_create(&f->room, ROOM_MAX);
}

void coap_fields_destroy(struct coap_fields *f)
{
    buf_destroy(&f->room);
}

void coap_fields_clear(struct coap_fields *f)
{
    f->n = 0;
    buf_clear(&f->room);
}

int coap_fields_add(struct coap_fields *f, unsigned number, const void *bytes, size_t n, struct error *err)
{
    if (f->n == COAP_FIELDS_MAX || n > UINT16_MAX)
        return error_set(err, ERR_LIMIT, "a CoAP message has at most %u options here", COAP_FIELDS_MAX);
    unsigned i = f->n++;
    for (; i && f->at[i - 1].number > number; i--)
        f->at[i] = f->at[i - 1];
    f->at[i] = (struct coap_field){.number = (uint16_t)number, .len = (uint16_t)n, .bytes = bytes};
    return 0;
}

// n bytes that stay where they are until the next clear.
static uint8_t *room(struct coap_fields *f, size_t n, struct error *err)
{
    if (!f->room.data && !buf_reserve(&f->room, ROOM_MAX)) {
        error_set(err, ERR_NO_MEMORY, "no memory for options");
        return NULL;
    }
    if (n > ROOM_MAX - f->room.len) {
        error_set(err, ERR_LIMIT, "the options of a CoAP message take more than %u bytes", ROOM_MAX);
        return NULL;
    }
    uint8_t *at = f->room.data + f->room.len;
    f->room.len += (uint32_t)n;
    return at;
}

int coap_fields_add_uint(struct coap_fields *f, unsigned number, uint32_t value, struct error *err)
{
    size_t n = value > 0xffffff ? 4 : value > 0xffff ? 3 : value > 0xff ? 2 : value ? 1 : 0;
    uint8_t *to = room(f, n, err);
    if (!to)
        return -1;
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)(value >> (8 * (n - 1 - i)));
    return coap_fields_add(f, number, to, n, err);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// One segment of a path or query, %XX decoded.
static int add_segment(struct coap_fields *f, unsigned number, const char *s, size_t n, struct error *err)
{
    size_t plain = n;
    const char *percent = memchr(s, '%', n);
    if (percent || n > 255) {
        uint8_t *to = room(f, n, err);
        if (!to)
            return -1;
        plain = 0;
        for (size_t i = 0; i < n; i++) {
            if (s[i] != '%') {
                to[plain++] = (uint8_t)s[i];
                continue;
            }
            int high = i + 2 < n ? hex_digit(s[i + 1]) : -1, low = i + 2 < n ? hex_digit(s[i + 2]) : -1;
            if (high < 0 || low < 0)
                return error_set(err, ERR_INVALID, "a CoAP path: \"%%\" needs two hex digits behind it: %.*s",
                                 (int)(n > 80 ? 80 : n), s);
            to[plain++] = (uint8_t)(high << 4 | low);
            i += 2;
        }
        s = (const char *)to;
    }
    if (plain > 255)
        return error_set(err, ERR_INVALID, "a segment of a CoAP path or query has at most 255 bytes, not %zu", plain);
    if (number == 11 && ((plain == 1 && s[0] == '.') || (plain == 2 && s[0] == '.' && s[1] == '.')))
        return error_set(err, ERR_INVALID, "\".\" and \"..\" are no segments of a CoAP path (RFC 7252, 5.10.1)");
    return coap_fields_add(f, number, s, plain, err);
}

static int add_split(struct coap_fields *f, unsigned number, char cut, const char *s, size_t n, struct error *err)
{
    for (;;) {
        const char *end = memchr(s, cut, n);
        size_t len = end ? (size_t)(end - s) : n;
        if (add_segment(f, number, s, len, err))
            return -1;
        if (!end)
            return 0;
        s += len + 1;
        n -= len + 1;
    }
}

int coap_fields_add_path(struct coap_fields *f, const char *prefix, const char *path, size_t n, struct error *err)
{
    size_t base = strlen(prefix);
    while (base && prefix[base - 1] == '/')
        base--;
    if (base && add_split(f, 11, '/', prefix + (prefix[0] == '/'), base - (prefix[0] == '/'), err))
        return -1;
    if (memchr(path, '\0', n) || memchr(path, '#', n))
        return error_set(err, ERR_INVALID, "a CoAP path has no \"#\" and no NUL");
    const char *end = path + n, *query = memchr(path, '?', n), *path_end = query ? query : end;
    if (path < path_end && path[0] == '/')
        path++;
    if (path < path_end && add_split(f, 11, '/', path, (size_t)(path_end - path), err))
        return -1;
    if (!query || query + 1 == end)
        return 0;
    return add_split(f, 15, '&', query + 1, (size_t)(end - query - 1), err);
}

// --- headers ------------------------------------------------------------------------------------------------------

static const struct option_info *info_by_name(const struct adapter_property *h)
{
    static const char content_type[] = "Content-Type"; // as HTTP says it
    for (size_t i = 0; i < N_INFOS; i++)
        if (strlen(infos[i].name) == h->name_len && strncasecmp(infos[i].name, h->name, h->name_len) == 0)
            return &infos[i];
    if (h->name_len == sizeof content_type - 1 && strncasecmp(content_type, h->name, h->name_len) == 0)
        return info_of(12);
    return NULL;
}

static int unknown_header(const struct adapter_property *h, struct error *err)
{
    const char *names[N_INFOS + 1];
    char name[64];
    for (size_t i = 0; i < N_INFOS; i++)
        names[i] = infos[i].name;
    names[N_INFOS] = NULL;
    snprintf(name, sizeof name, "%.*s", (int)(h->name_len > 60 ? 60 : h->name_len), h->name);
    return error_unknown(err, "unknown CoAP option", name, names);
}

// Bytes of an opaque value: "0x…" in hex, anything else as it stands.
static int opaque(struct coap_fields *f, const struct adapter_property *h, const uint8_t **bytes, size_t *n,
                  struct error *err)
{
    *bytes = (const uint8_t *)h->value;
    *n = h->value_len;
    if (h->value_len < 2 || h->value[0] != '0' || h->value[1] != 'x')
        return 0;
    uint8_t *to = room(f, h->value_len / 2, err);
    if (!to)
        return -1;
    *n = 0;
    for (size_t i = 2; i < h->value_len; i += 2) {
        int high = hex_digit(h->value[i]), low = i + 1 < h->value_len ? hex_digit(h->value[i + 1]) : -1;
        if (high < 0 || low < 0)
            return error_set(err, ERR_INVALID, "CoAP option %.*s: expected pairs of hex digits behind 0x",
                             (int)h->name_len, h->name);
        to[(*n)++] = (uint8_t)(high << 4 | low);
    }
    *bytes = to;
    return 0;
}

static int add_number(struct coap_fields *f, const struct option_info *info, const struct adapter_property *h,
                      struct error *err)
{
    char text[24];
    int64_t v, max = info->max >= 4 ? UINT32_MAX : ((int64_t)1 << (8 * info->max)) - 1;
    if (info->kind == FORMAT) {
        int format = coap_format_number(h->value, h->value_len);
        if (format >= 0)
            return coap_fields_add_uint(f, info->number, (uint32_t)format, err);
    }
    snprintf(text, sizeof text, "%.*s", (int)(h->value_len > 20 ? 20 : h->value_len), h->value);
    if (int_parse(text, 0, max, &v, NULL))
        return error_set(err, ERR_INVALID, "CoAP option %s: expected a whole number from 0 to %lld%s, got \"%s\"",
                         info->name, (long long)max,
                         info->kind == FORMAT ? " or a media type like \"application/json\"" : "", text);
    return coap_fields_add_uint(f, info->number, (uint32_t)v, err);
}

static int add_header(struct coap_fields *f, const struct adapter_property *h, bool request, struct error *err)
{
    const struct option_info *info = info_by_name(h);
    const uint8_t *bytes;
    char name[8];
    int64_t number = 0;
    size_t n;
    snprintf(name, sizeof name, "%.*s", (int)(h->name_len > 6 ? 6 : h->name_len), h->name);
    if (!info && int_parse(name, 1, 65535, &number, NULL))
        return unknown_header(h, err);
    if (!info)
        info = info_of((unsigned)number);
    if (number == 23 || number == 27 || number == 6 || (info && info->number == 6))
        return error_set(err, ERR_INVALID, "Observe, Block1 and Block2 are the adapter's own");
    if (info && !(info->where & (request ? REQUEST : RESPONSE)))
        return error_set(err, ERR_INVALID, "CoAP option %s belongs in a %s", info->name,
                         request ? "response" : "request");
    if (info && (info->kind == UINT || info->kind == FORMAT))
        return add_number(f, info, h, err);
    if (info && info->kind == EMPTY)
        return coap_fields_add(f, info->number, "", 0, err);
    if (info && info->kind == TEXT)
        bytes = (const uint8_t *)h->value, n = h->value_len;
    else if (opaque(f, h, &bytes, &n, err))
        return -1;
    if (info && (n < info->min || n > info->max))
        return error_set(err, ERR_INVALID, "CoAP option %s has %u to %u bytes, not %zu", info->name, info->min,
                         info->max, n);
    return coap_fields_add(f, info ? info->number : (unsigned)number, bytes, n, err);
}

int coap_fields_add_headers(struct coap_fields *f, const struct adapter_property *headers, unsigned n, bool request,
                            struct error *err)
{
    for (unsigned i = 0; i < n; i++)
        if (add_header(f, &headers[i], request, err))
            return -1;
    return 0;
}
