// What a producer and a consumer of Kafka have in common: properties, secrets, a descriptor for the loop, the end.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sink/kafka.h"

int kafka_find_secrets(const struct kafka_options *o, const char *(*find)(void *arg, const char *name, struct error *),
                       void *arg, struct kafka_secrets *out, struct error *err)
{
    *out = (struct kafka_secrets){o->password, o->key_password};
    if (o->password_ref && !(out->password = find(arg, o->password_ref, err)))
        return error_prefix(err, "passwordRef");
    if (o->key_password_ref && !(out->key_password = find(arg, o->key_password_ref, err)))
        return error_prefix(err, "keyPasswordRef");
    return 0;
}

// One property. What it says of a bad one goes into the error, the value does not: it may be a secret.
static int set(rd_kafka_conf_t *conf, const char *name, const char *value, struct error *err)
{
    char why[256];
    if (!value || rd_kafka_conf_set(conf, name, value, why, sizeof(why)) == RD_KAFKA_CONF_OK)
        return 0;
    return error_set(err, ERR_INVALID, "librdkafka %s does not take its property %s: %s", rd_kafka_version_str(), name,
                     strstr(name, "password") ? "the value is not good" : why);
}

static int set_number(rd_kafka_conf_t *conf, const char *name, int64_t value, struct error *err)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return set(conf, name, text, err);
}

static int set_security(rd_kafka_conf_t *conf, const struct kafka_options *o, const struct kafka_secrets *secrets,
                        struct error *err)
{
    const char *protocol = o->sasl ? (o->tls ? "sasl_ssl" : "sasl_plaintext") : o->tls ? "ssl" : "plaintext";
    if (set(conf, "security.protocol", protocol, err))
        return -1;
    if (o->tls &&
        (set(conf, "ssl.ca.location", o->ca, err) || set(conf, "ssl.certificate.location", o->cert, err) ||
         set(conf, "ssl.key.location", o->key, err) || set(conf, "ssl.key.password", secrets->key_password, err) ||
         set(conf, "enable.ssl.certificate.verification", o->verify ? "true" : "false", err) ||
         set(conf, "ssl.endpoint.identification.algorithm", o->verify ? "https" : "none", err)))
        return -1;
    return !o->sasl ? 0
                    : set(conf, "sasl.mechanisms", o->sasl, err) | set(conf, "sasl.username", o->username, err) |
                          set(conf, "sasl.password", secrets->password, err);
}

static int set_producer(rd_kafka_conf_t *conf, const struct kafka_options *o, struct error *err)
{
    static const char *const fixed[][2] = {
        {"enable.idempotence", "true"},         {"acks", "all"},
        {"partitioner", "murmur2_random"},      {"message.timeout.ms", "0"}, // records wait; the sink is who gives up
        {"message.max.bytes", "10485760"},      {"queue.buffering.max.messages", "10000000"},
        {"delivery.report.only.error", "false"}};
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        if (set(conf, fixed[i][0], fixed[i][1], err))
            return -1;
    return set(conf, "compression.codec", o->compression, err) ||
                   set_number(conf, "linger.ms", o->linger_us / 1000, err) ||
                   set_number(conf, "queue.buffering.max.kbytes", o->memory / 1024, err)
               ? -1
               : 0;
}

static int set_all(rd_kafka_conf_t *conf, rd_kafka_type_t type, const struct kafka_options *o,
                   const struct kafka_secrets *secrets, const char *client_id, struct error *err)
{
    const char *name;
    json_t *value;
    if (set(conf, "bootstrap.servers", o->brokers, err) || set(conf, "client.id", client_id, err) ||
        set(conf, "socket.keepalive.enable", "true", err) || set(conf, "log.queue", "true", err) ||
        set(conf, "reconnect.backoff.ms", "100", err) || set(conf, "reconnect.backoff.max.ms", "2000", err) ||
        set_security(conf, o, secrets, err) || (type == RD_KAFKA_PRODUCER && set_producer(conf, o, err)))
        return -1;
    json_object_foreach((json_t *)(uintptr_t)o->properties, name, value)
    {
        if (set(conf, name, json_string_value(value), err))
            return -1;
    }
    return 0;
}

rd_kafka_t *kafka_client_new(rd_kafka_type_t type, const struct kafka_options *o, const struct kafka_secrets *secrets,
                             const char *client_id, struct error *err)
{
    char why[400] = "";
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (set_all(conf, type, o, secrets, client_id, err)) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_FETCH);
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof(why));
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        error_set(err, ERR_INVALID, "librdkafka: %s", why);
        return NULL;
    }
    rd_kafka_set_log_queue(rk, NULL); // to the main queue
    return rk;
}

static void *end_client(void *rk)
{
    rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return NULL;
}

void kafka_reap(struct kafka_reaper *r, rd_kafka_t *rk)
{
    if (r->n == sizeof(r->threads) / sizeof(r->threads[0]))
        kafka_reaper_join(r); // a client that breaks so often leaves no better way
    if (pthread_create(&r->threads[r->n], NULL, end_client, rk))
        end_client(rk);
    else
        r->n++;
}

void kafka_reaper_join(struct kafka_reaper *r)
{
    for (; r->n; r->n--)
        pthread_join(r->threads[r->n - 1], NULL);
}

int kafka_notify(rd_kafka_queue_t *queue, struct error *err)
{
    static const uint64_t one = 1;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return error_set_errno(err, "eventfd");
    rd_kafka_queue_io_event_enable(queue, fd, &one, sizeof(one));
    kafka_notify_again(fd); // it tells of a queue that was empty only: what is there already is told here
    return fd;
}

void kafka_notified(int fd)
{
    uint64_t n;
    while (read(fd, &n, sizeof(n)) < 0 && errno == EINTR)
        ;
}

void kafka_notify_again(int fd)
{
    static const uint64_t one = 1;
    (void)!write(fd, &one, sizeof(one));
}
