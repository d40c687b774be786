// Topic filters: MQTT 3.1.1 section 4.7. "$share/GROUP/" in front of a filter (MQTT 5 section 4.8.2, which most 3.1.1
// servers serve too) does not take part in the matching.
#include "adapter/topic.h"

#include <string.h>

static const char *without_share(const char *filter)
{
    if (strncmp(filter, "$share/", 7) != 0)
        return filter;
    const char *group_end = strchr(filter + 7, '/');
    return group_end ? group_end + 1 : filter;
}

bool topic_matches(const char *filter, const char *topic)
{
    return topic_matches_n(filter, topic, strlen(topic));
}

static size_t level(const char *at, const char *end)
{
    const char *slash = at < end ? memchr(at, '/', (size_t)(end - at)) : NULL;
    return (size_t)((slash ? slash : end) - at);
}

bool topic_matches_n(const char *filter, const char *topic, size_t n)
{
    const char *f = without_share(filter), *t = topic, *end = topic + n;
    if (n && *t == '$' && (*f == '+' || *f == '#')) // 4.7.2: no wildcard at the front matches $SYS and its like
        return false;
    for (;;) {
        size_t fn = strcspn(f, "/"), tn = level(t, end);
        if (fn == 1 && *f == '#')
            return true;
        if (!(fn == 1 && *f == '+') && (fn != tn || memcmp(f, t, fn) != 0))
            return false;
        f += fn;
        t += tn;
        if (t == end) // "a/#" matches "a" too
            return *f == '\0' || strcmp(f, "/#") == 0;
        if (*f == '\0')
            return false;
        f++;
        t++;
    }
}

bool topic_filters_overlap(const char *a, const char *b)
{
    a = without_share(a);
    b = without_share(b);
    for (;;) {
        size_t an = strcspn(a, "/"), bn = strcspn(b, "/");
        bool a_any = an == 1 && *a == '+', b_any = bn == 1 && *b == '+';
        if ((an == 1 && *a == '#') || (bn == 1 && *b == '#'))
            return true;
        if (!a_any && !b_any && (an != bn || memcmp(a, b, an) != 0))
            return false;
        a += an;
        b += bn;
        if (*a == '\0' || *b == '\0')
            return (*a == '\0' || strcmp(a, "/#") == 0) && (*b == '\0' || strcmp(b, "/#") == 0);
        a++;
        b++;
    }
}
