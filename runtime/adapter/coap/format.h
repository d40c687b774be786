// Names and numbers of CoAP: methods, content formats, options, and paths as options.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "adapter/adapter.h"

enum { // request codes 0.01 … 0.07
    COAP_METHOD_GET = 1,
    COAP_METHOD_POST,
    COAP_METHOD_PUT,
    COAP_METHOD_DELETE,
    COAP_METHOD_FETCH,
    COAP_METHOD_PATCH,
    COAP_METHOD_IPATCH,
    COAP_METHOD_OBSERVE = 255 // GET with Observe
};
// 0: no such method. Names are those of adapter_request.
int coap_method_code(const char *name);
const char *coap_method_name(int code); // NULL: none
extern const char *const coap_method_names[];

// Media type to content format (RFC 7252, 12.3); parameters behind ";" must be those of the registry. -1: unknown.
int coap_format_number(const char *media_type, size_t n);
const char *coap_format_name(unsigned number); // NULL: unknown

// One option as it will be put in a message. bytes belong to whoever made it.
struct coap_field {
    uint16_t number, len;
    const uint8_t *bytes;
};
#define COAP_FIELDS_MAX 64u
// Options of a message that is being made: sorted by number, stable. Their bytes are the caller's or stand in `room`.
struct coap_fields {
    struct coap_field at[COAP_FIELDS_MAX];
    unsigned n;
    struct buf room; // not moved while fields point into it: reserved at the beginning
};
void coap_fields_create(struct coap_fields *f);
void coap_fields_destroy(struct coap_fields *f);
void coap_fields_clear(struct coap_fields *f);
int coap_fields_add(struct coap_fields *f, unsigned number, const void *bytes, size_t n, struct error *err);
int coap_fields_add_uint(struct coap_fields *f, unsigned number, uint32_t value, struct error *err);
// "/a/b%20c?x=1&y" below prefix ("" or "/p"): Uri-Path and Uri-Query options (RFC 7252, 6.4).
int coap_fields_add_path(struct coap_fields *f, const char *prefix, const char *path, size_t n, struct error *err);
// Headers by name; see coap.h. request: options that only responses have are errors, and the other way round.
int coap_fields_add_headers(struct coap_fields *f, const struct adapter_property *headers, unsigned n, bool request,
                            struct error *err);

// An option's value in words, appended: what adapter_property shows. number: of the option.
int coap_option_text(unsigned number, const uint8_t *bytes, size_t n, struct buf *out);
const char *coap_option_name(unsigned number); // NULL: has none
// The uint of an option, 0 for none. At most 4 bytes count.
uint32_t coap_uint(const uint8_t *bytes, size_t n);
