// What the delivery ledger costs for each message, in CPU: at the device that numbers it (beside a publish that is not
// numbered), and at the ledger that finds the number and enters it. The best of five rounds. Prints a table; no test
// asserts a time. tests/bench/ledger.py floods the ledger of a whole run.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device/delivery.h"
#include "device/internal.h"

enum { ROUNDS = 5, MESSAGES = 1 << 20, DEVICES = 10000 };

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct last { // message that was published
    char topic[200], payload[400];
    struct adapter_property property;
    char text[100];
    struct adapter_meta meta;
    struct adapter_message m;
};
static struct last *taken; // NULL: nothing is kept

static int publish(struct adapter_conn *c, const struct adapter_message *m, uint32_t token, struct error *err)
{
    (void)c, (void)token, (void)err;
    if (!taken)
        return 0;
    taken->m = *m;
    taken->m.topic = memcpy(taken->topic, m->topic, m->topic_len);
    taken->m.payload = memcpy(taken->payload, m->payload, m->payload_len);
    if (m->meta && m->meta->n_user) {
        taken->property = m->meta->user[0];
        taken->property.value = memcpy(taken->text, taken->property.value, taken->property.value_len);
        taken->meta = (struct adapter_meta){.user = &taken->property, .n_user = 1};
        taken->m.meta = &taken->meta;
    }
    return 0;
}

static void one(const char *name, struct stamp_rule rule, struct loop *loop)
{
    static const struct adapter_ops ops = {.publish = publish};
    static const char topic[] = "sensors/sensors-123/telemetry",
                      payload[] = "{\"temperature\":21.25,\"humidity\":45.5,\"note\":\"operational, firmware 2.4.1, "
                                  "north wing, floor 3, last calibrated 2026-03-14\"}";
    static const char *const filters[] = {"pumps/+/#", "sensors/+/#"};
    struct error err;
    struct metrics *metrics = metrics_new(100);
    struct device *d = calloc(1, sizeof(*d));
    struct group *group = calloc(1, sizeof(*group)), *groups[] = {group};
    struct fleet *fleet = calloc(1, sizeof(*fleet));
    struct delivery *book = delivery_new(&err);
    struct last last;
    const struct adapter_message m = {.topic = topic,
                                      .topic_len = sizeof(topic) - 1,
                                      .payload = (const uint8_t *)payload,
                                      .payload_len = sizeof(payload) - 1};
    fleet->config.env.metrics = metrics;
    fleet->config.env.loop = loop;
    fleet->config.owner = (struct ownership){0, 1, 0, 1};
    fleet->groups = groups;
    fleet->n_groups = 1;
    group->fleet = fleet;
    group->adapter = &ops;
    group->owned = DEVICES;
    group->config.name = "sensors";
    group->config.stamp = rule;
    group->config.in_ledger = rule.place != STAMP_NONE;
    group->config.ledger_filters = filters;
    group->config.n_ledger_filters = 2;
    d->group = group;
    double sends = 1e18, receives = 1e18;
    if (stamps_begin(fleet, &err))
        abort();
    for (int r = 0; r < ROUNDS; r++) {
        double from = cpu_ns();
        for (uint32_t i = 0; i < MESSAGES; i++) {
            d->index = i % DEVICES + 1;
            if (stamp_publish(d, &m, 0, NULL))
                abort();
        }
        double ns = (cpu_ns() - from) / MESSAGES;
        sends = ns < sends ? ns : sends;
    }
    taken = &last;
    if (stamp_publish(d, &m, 0, NULL))
        abort();
    taken = NULL;
    for (int r = 0; r < ROUNDS && rule.place != STAMP_NONE; r++) {
        double from = cpu_ns();
        for (uint32_t i = 0; i < MESSAGES; i++) {
            struct stamp s;
            if (!stamp_find(&rule, &last.m, &s) ||
                delivery_received(book, i % DEVICES, 0, (uint32_t)r * (MESSAGES / DEVICES + 1) + i / DEVICES + 1, false,
                                  &err))
                abort();
        }
        double ns = (cpu_ns() - from) / MESSAGES;
        receives = ns < receives ? ns : receives;
    }
    if (rule.place == STAMP_NONE)
        printf("  %-34s %8.0f ns\n", name, sends);
    else
        printf("  %-34s %8.0f ns   %8.0f ns\n", name, sends, receives);
    stamps_delete(fleet->stamps);
    delivery_delete(book);
    metrics_delete(metrics);
    free(d);
    free(group);
    free(fleet);
}

int main(void)
{
    struct clock clock;
    struct error err;
    clock_create_real(&clock);
    struct loop *loop = loop_new(&clock, &err);
    if (!loop)
        return 1;
    printf("  %-34s %11s   %11s\n", "a message", "published", "entered");
    one("without a number (floor)", (struct stamp_rule){STAMP_NONE, ""}, loop);
    one("in a property of MQTT 5", (struct stamp_rule){STAMP_PROPERTY, ""}, loop);
    one("in the topic", (struct stamp_rule){STAMP_TOPIC, ""}, loop);
    one("in the payload", (struct stamp_rule){STAMP_PAYLOAD, "seq"}, loop);
    loop_delete(loop);
    return 0;
}
