#include "device/meta.h"

#include <stdlib.h>
#include <string.h>

static size_t texts_of(const struct adapter_meta *m)
{
    size_t n = m->content_type_len + m->response_topic_len + m->correlation_len;
    for (unsigned i = 0; i < m->n_user; i++)
        n += m->user[i].name_len + m->user[i].value_len;
    return n;
}

// The copy of n bytes; NULL stays NULL.
static char *take(char **at, const void *bytes, size_t n)
{
    char *copy = *at;
    if (!bytes)
        return NULL;
    if (n)
        memcpy(copy, bytes, n);
    *at += n;
    return copy;
}

struct adapter_meta *meta_copy(const struct adapter_meta *from)
{
    if (!from)
        return NULL;
    struct adapter_meta *to = malloc(sizeof(*to) + from->n_user * sizeof(*from->user) + texts_of(from));
    if (!to)
        return NULL;
    struct adapter_property *user = (struct adapter_property *)(to + 1);
    char *at = (char *)(user + from->n_user);
    *to = *from;
    to->user = from->n_user ? user : NULL;
    to->content_type = take(&at, from->content_type, from->content_type_len);
    to->response_topic = take(&at, from->response_topic, from->response_topic_len);
    to->correlation = (uint8_t *)take(&at, from->correlation, from->correlation_len);
    for (unsigned i = 0; i < from->n_user; i++) {
        user[i] = from->user[i];
        user[i].name = take(&at, from->user[i].name, from->user[i].name_len);
        user[i].value = take(&at, from->user[i].value, from->user[i].value_len);
    }
    return to;
}
