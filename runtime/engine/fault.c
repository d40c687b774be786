#include "engine/fault.h"

#include <stdio.h>
#include <string.h>

struct fault *faults_add(struct faults *f, bool conn, const char *reason, uint64_t count, bool *fresh)
{
    *fresh = false;
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < f->n; i++)
            if (f->list[i].conn == conn && strcmp(f->list[i].reason, reason) == 0) {
                f->list[i].count += count;
                return &f->list[i];
            }
        // The last two places are kept for "other", of devices and of connections.
        if (f->n < FAULTS_MAX - 2)
            break;
        reason = "other";
    }
    struct fault *new = &f->list[f->n++];
    *new = (struct fault){.conn = conn, .count = count};
    snprintf(new->reason, sizeof(new->reason), "%s", reason);
    *fresh = true;
    return new;
}

void fault_reason(const char *prefix, const char *text, char *dst, size_t size)
{
    snprintf(dst, size, "%s%.*s", prefix, (int)strcspn(text, "\n"), text);
    size_t n = strlen(dst);
    if (n + 1 < size)
        return;
    while (n && ((unsigned char)dst[n - 1] & 0xc0) == 0x80) // continuation bytes, then their lead
        n--;
    if (n && (unsigned char)dst[n - 1] >= 0xc0)
        n--;
    dst[n] = 0;
}
