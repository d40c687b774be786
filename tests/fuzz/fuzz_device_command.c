// Any bytes as a command: refused with a reason that has a name and a text, or parameters that are what the model says.
// The first byte chooses the topic that it came on.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "device/command_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text[] =
    "{\"id\":\"v\",\"name\":\"V\",\"type\":\"actuator\",\"protocol\":\"mqtt\",\"commands\":[{\"name\":\"set\","
    "\"parameters\":[{\"name\":\"position\",\"type\":\"integer\",\"required\":true,\"min\":0,\"max\":100},{\"name\":"
    "\"mode\",\"type\":\"string\",\"values\":[\"fast\",\"slow\"]},{\"name\":\"any\"},{\"name\":\"o\",\"type\":"
    "\"object\"}]"
    "},{\"name\":\"ping\"},{\"name\":\"own\",\"parameters\":[{\"name\":\"id\"},{\"name\":\"params\"},{\"name\":"
    "\"command\"}]}]}";

static void check_taken(const struct command_message *m)
{
    const char *key;
    json_t *v;
    json_object_foreach(m->params, key, v)
    {
        const struct model_parameter *p = NULL;
        for (unsigned i = 0; i < m->model->n_parameters; i++) {
            if (!strcmp(m->model->parameters[i].name, key))
                p = &m->model->parameters[i];
        }
        if (!p || !model_parameter_fits(p, v) || (p->type == VALUE_INTEGER && !json_is_integer(v)))
            abort();
        if (p->has_max && (json_integer_value(v) < 0 || json_integer_value(v) > 100))
            abort();
    }
    if (m->model->n_parameters == 4 && !json_object_get(m->params, "position"))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct command_fault f = {0};
    struct model *model = model_parse(text, sizeof(text) - 1, "fuzz.json", NULL, &err);
    if (!model)
        abort();
    unsigned from = size ? data[0] % 4 : 3;
    struct command_message m = {.model = from < 3 ? &model->commands[from] : NULL};
    if (!command_read(model, size ? data + 1 : data, size ? size - 1 : 0, &m, &f))
        check_taken(&m);
    else if (!f.err.text[0] || f.reason >= COMMAND_REASON_MAX)
        abort();
    command_message_free(&m);
    model_delete(model);
    return 0;
}
