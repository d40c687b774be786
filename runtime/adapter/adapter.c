// The adapters there are. A new built-in one is one line in each table.
#include "adapter/adapter.h"

#include <stdlib.h>
#include <string.h>

#include "adapter/coap/coap.h"
#include "adapter/coap/coap.h"
#include "adapter/http/http.h"
#include "adapter/mqtt/mqtt.h"

static const struct adapter_ops *const adapters[] = {&mqtt_adapter, &http_adapter, &coap_adapter};
static const char *const names[] = {"mqtt", "http", "coap", NULL};

#define N_ADAPTERS (sizeof adapters / sizeof *adapters)
#define ADDED_MAX 64u
#define SCHEMES_MAX 16u
#define WORD_MAX 15u // of struct url

struct adapter_registry {
    const struct adapter_ops *added[ADDED_MAX];
    char *from[ADDED_MAX];
    unsigned n;
    const char *names[N_ADAPTERS + ADDED_MAX + 1];
};

static bool serves(const struct adapter_ops *ops, const char *word)
{
    if (strcmp(ops->name, word) == 0)
        return true;
    for (const char *const *scheme = ops->schemes; *scheme; scheme++)
        if (strcmp(*scheme, word) == 0)
            return true;
    return false;
}

const struct adapter_ops *adapter_find(const char *scheme_or_name)
{
    for (size_t i = 0; i < N_ADAPTERS; i++)
        if (serves(adapters[i], scheme_or_name))
            return adapters[i];
    return NULL;
}

const char *const *adapter_names(void)
{
    return names;
}

struct adapter_registry *adapter_registry_new(struct error *err)
{
    struct adapter_registry *r = calloc(1, sizeof *r);
    if (!r) {
        error_set(err, ERR_NO_MEMORY, "no memory for the adapters");
        return NULL;
    }
    for (unsigned i = 0; names[i]; i++)
        r->names[i] = names[i];
    return r;
}

void adapter_registry_delete(struct adapter_registry *r)
{
    for (unsigned i = 0; r && i < r->n; i++)
        free(r->from[i]);
    free(r);
}

static int check_word(const char *what, const char *word, struct error *err)
{
    size_t n = word ? strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789+-.") : 0;
    if (!word || !*word)
        return error_set(err, ERR_INVALID, "it has no %s", what);
    if (word[n] || n > WORD_MAX || word[0] < 'a' || word[0] > 'z')
        return error_set(err, ERR_INVALID,
                         "its %s \"%.40s\" is none: expected at most %u of a-z 0-9 + - . that begin with a letter",
                         what, word, WORD_MAX);
    return 0;
}

static int check_functions(const struct adapter_ops *ops, struct error *err)
{
    const struct {
        const char *name;
        bool there;
    } needed[] = {
        {"target_new", ops->target_new},   {"target_delete", ops->target_delete}, {"conn_new", ops->conn_new},
        {"conn_delete", ops->conn_delete}, {"conn_open", ops->conn_open},         {"conn_close", ops->conn_close},
        {"publish", ops->publish},         {"subscribe", ops->subscribe},         {"unsubscribe", ops->unsubscribe},
        {"pending", ops->pending},         {"footprint", ops->footprint}};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!needed[i].there)
            return error_set(err, ERR_INVALID, "its function %s is missing", needed[i].name);
    return 0;
}

int adapter_check(const struct adapter_ops *ops, struct error *err)
{
    if (ops->abi != ADAPTER_ABI)
        return error_set(
            err, ERR_UNSUPPORTED,
            "it was built for version %u of the plugin ABI, this is iotix %s with version %d: build it again "
            "with the headers of this iotix",
            ops->abi, IOTIX_VERSION, ADAPTER_ABI);
    if (ops->size < ADAPTER_MIN_SIZE)
        return error_set(err, ERR_UNSUPPORTED, "its struct adapter_ops says it has %u bytes, expected %zu at least",
                         ops->size, ADAPTER_MIN_SIZE);
    if (check_word("name", ops->name, err))
        return -1;
    if (!ops->schemes || !ops->schemes[0])
        return error_set(err, ERR_INVALID, "it has no URL scheme");
    unsigned n = 0;
    for (; ops->schemes[n]; n++)
        if (n == SCHEMES_MAX)
            return error_set(err, ERR_INVALID, "it has more than %u URL schemes, or its list does not end with NULL",
                             SCHEMES_MAX);
        else if (check_word("URL scheme", ops->schemes[n], err))
            return -1;
    return check_functions(ops, err);
}

// Who serves a word already; NULL: nobody.
static const char *taken_by(const struct adapter_registry *r, const char *word)
{
    if (adapter_find(word))
        return "iotix itself";
    for (unsigned i = 0; i < r->n; i++)
        if (serves(r->added[i], word))
            return r->from[i];
    return NULL;
}

int adapter_registry_add(struct adapter_registry *r, const struct adapter_ops *ops, const char *from, struct error *err)
{
    if (adapter_check(ops, err))
        return -1;
    const char *who = taken_by(r, ops->name);
    if (who)
        return error_set(err, ERR_INVALID, "an adapter named \"%s\" is there already: %s", ops->name, who);
    for (const char *const *scheme = ops->schemes; *scheme; scheme++)
        if ((who = taken_by(r, *scheme)))
            return error_set(err, ERR_INVALID, "its URL scheme \"%s\" is taken already: %s", *scheme, who);
    if (r->n == ADDED_MAX)
        return error_set(err, ERR_LIMIT, "there are %u adapters beside the built-in ones already", ADDED_MAX);
    char *copy = strdup(from);
    if (!copy)
        return error_set(err, ERR_NO_MEMORY, "no memory for an adapter");
    r->from[r->n] = copy;
    r->added[r->n] = ops;
    r->names[N_ADAPTERS + r->n] = ops->name;
    r->n++;
    return 0;
}

const struct adapter_ops *adapter_registry_find(const struct adapter_registry *r, const char *scheme_or_name)
{
    const struct adapter_ops *ops = adapter_find(scheme_or_name);
    for (unsigned i = 0; !ops && r && i < r->n; i++)
        if (serves(r->added[i], scheme_or_name))
            ops = r->added[i];
    return ops;
}

const char *const *adapter_registry_names(const struct adapter_registry *r)
{
    return r ? r->names : names;
}
