#include "telemetry/json_text.h"

#include "telemetry/dataset_impl.h" // its scanner checks what it walks over

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

bool json_text_valid(const void *text, size_t n)
{
    const char *p = text, *end = p + n, *where, *what;
    if (!n)
        return false;
    p = skip_space(p, end);
    p = p == end ? NULL : dataset_json_skip(p, end, 1, &where, &what);
    return p && skip_space(p, end) == end;
}
