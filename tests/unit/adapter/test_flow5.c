// Messages, subscriptions, requests and their properties in MQTT 5 against a scripted broker.
#include "harness.h"

#define OPS (&mqtt_adapter)
#define V5(more) "{\"version\":5" more "}"
#define QUICK ",\"reconnect\":{\"initial\":\"1ms\",\"jitter\":false}"

static void world5(struct world *w, const char *options, const char *connack, size_t n)
{
    world_create(w, options);
    w->broker.is5 = true;
    w->broker.connack_properties = connack;
    w->broker.connack_properties_len = (uint8_t)n;
}

static const struct adapter_property two_users[] = {{"a", 1, "1", 1}, {"b", 1, "2", 1}};
static const struct adapter_meta full_meta = {.content_type = "text/plain",
                                              .content_type_len = 10,
                                              .response_topic = "r/1",
                                              .response_topic_len = 3,
                                              .correlation = (const uint8_t *)"\0\1\2",
                                              .correlation_len = 3,
                                              .user = two_users,
                                              .n_user = 2,
                                              .has_expiry = true,
                                              .expiry_s = 60,
                                              .payload_text = true};

static struct adapter_message message(const char *topic, uint8_t qos, const struct adapter_meta *meta)
{
    return (struct adapter_message){.topic = topic,
                                    .topic_len = strlen(topic),
                                    .payload = (const uint8_t *)"body",
                                    .payload_len = 4,
                                    .qos = qos,
                                    .meta = meta};
}

static void check_full(const struct packet *p)
{
    assert_string_equal(p->topic, "t/1");
    assert_string_equal(p->payload, "body");
    assert_string_equal(p->content_type, "text/plain");
    assert_string_equal(p->response_topic, "r/1");
    assert_int_equal(p->correlation_len, 3);
    assert_memory_equal(p->correlation, "\0\1\2", 3);
    assert_int_equal(p->n_user, 2);
    assert_true(p->has_expiry);
}

static void properties_go_out_with_every_qos(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(QUICK), NULL, 0);
    client_connect(&w);
    for (uint8_t qos = 0; qos < 3; qos++) {
        struct adapter_message m = message("t/1", qos, &full_meta);
        assert_int_equal(OPS->publish(w.client.conn, &m, qos, &err), 0);
    }
    WAIT(&w, w.client.n_done == 2 && broker_count(&w.broker, MQTT_PUBLISH) == 3);
    for (unsigned i = 0; i < 3; i++)
        check_full(broker_got(&w.broker, MQTT_PUBLISH, i));
    // Kept while offline, and sent again, as they were.
    w.broker.no_puback = true;
    struct adapter_message m = message("t/1", 1, &full_meta);
    assert_int_equal(OPS->publish(w.client.conn, &m, 5, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 4);
    w.broker.no_puback = false;
    peer_close(last_peer(&w), true);
    WAIT(&w, w.client.n_done == 3);
    check_full(broker_got(&w.broker, MQTT_PUBLISH, 4));
    assert_int_equal(OPS->pending(w.client.conn), 0);
    world_destroy(&w);
}

static struct mqtt_session *session_of(struct world *w)
{
    return &((struct mqtt_conn *)(void *)w->client.conn)->session;
}

// So much time passes for all messages that are under way.
static void age(struct world *w, int64_t seconds)
{
    for (struct mqtt_out *o = session_of(w)->state->head; o; o = o->next)
        o->accepted_us -= seconds * 1000000;
}

static int publish_expiring(struct world *w, const char *payload, uint32_t expiry_s, uint32_t token)
{
    struct error err;
    const struct adapter_meta meta = {.has_expiry = true, .expiry_s = expiry_s};
    struct adapter_message m = message("t", 1, &meta);
    m.payload = (const uint8_t *)payload;
    m.payload_len = strlen(payload);
    return OPS->publish(w->client.conn, &m, token, &err);
}

static void message_expiry_counts_down_in_the_queue(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(QUICK ",\"inflight\":1"), NULL, 0);
    client_connect(&w);
    w.broker.no_puback = true;
    assert_int_equal(client_publish(&w.client, "t", "first", 1, 1, &err), 0);
    assert_int_equal(publish_expiring(&w, "expires", 20, 2), 0);
    assert_int_equal(publish_expiring(&w, "stays", 31, 3), 0);
    assert_int_equal(publish_expiring(&w, "of no token", 5, 0), 0);
    assert_int_equal(client_publish(&w.client, "t", "last", 1, 4, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 1);
    age(&w, 20);
    w.broker.no_puback = false;
    peer_ack5(last_peer(&w), MQTT_PUBACK, broker_got(&w.broker, MQTT_PUBLISH, 0)->id, 0);
    WAIT(&w, w.client.n_done == 4);
    assert_int_equal(broker_count(&w.broker, MQTT_PUBLISH), 3);
    assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, 1)->payload, "stays");
    assert_int_equal(broker_got(&w.broker, MQTT_PUBLISH, 1)->expiry, 11);
    assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, 2)->payload, "last");
    assert_false(broker_got(&w.broker, MQTT_PUBLISH, 2)->has_expiry);
    unsigned expired = 0;
    for (unsigned i = 0; i < 4; i++)
        expired += w.client.done[i].token == 2 && w.client.done[i].code == ERR_TIMEOUT;
    assert_int_equal(expired, 1);
    assert_int_equal(metric(&w, "messages_dropped", "reason:timeout").count, 2);
    assert_int_equal(metric(&w, "publish_errors", NULL).hits, 2);
    assert_int_equal(OPS->pending(w.client.conn), 0);
    world_destroy(&w);
}

// What the server may have goes again however late (4.4.0-1), with what is left; without its session it is as if never
// sent.
static void message_expiry_of_what_is_sent_again(void **state)
{
    (void)state;
    struct world w;
    world5(&w, V5(QUICK ",\"cleanSession\":false"), NULL, 0);
    client_connect(&w);
    w.broker.no_puback = w.broker.session_present = true;
    assert_int_equal(publish_expiring(&w, "x", 60, 1), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 1);
    assert_int_equal(broker_got(&w.broker, MQTT_PUBLISH, 0)->expiry, 60);
    static const uint32_t left[] = {50, 1};
    for (unsigned i = 0; i < 2; i++) {
        age(&w, i ? 100 : 10);
        peer_close(last_peer(&w), true);
        WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == i + 2);
        const struct packet *p = broker_got(&w.broker, MQTT_PUBLISH, i + 1);
        assert_int_equal(p->expiry, left[i]);
        assert_true(p->first & 8); // DUP
    }
    w.broker.session_present = false;
    peer_close(last_peer(&w), true);
    WAIT(&w, w.client.n_done == 1);
    assert_int_equal(w.client.done[0].code, ERR_TIMEOUT);
    assert_non_null(strstr(w.client.done_text, "its expiry of 60 s passed"));
    SETTLE(&w);
    assert_int_equal(broker_count(&w.broker, MQTT_PUBLISH), 3);
    world_destroy(&w);
}

static void bad_properties_are_refused(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    static struct adapter_property many[MQTT5_USER_MAX + 1];
    for (unsigned i = 0; i <= MQTT5_USER_MAX; i++)
        many[i] = two_users[0];
    const struct {
        struct adapter_meta meta;
        enum error_code code;
    } cases[] = {{{.content_type = "\xff", .content_type_len = 1}, ERR_INVALID},
                 {{.response_topic = "a/#", .response_topic_len = 3}, ERR_INVALID},
                 {{.response_topic = "", .response_topic_len = 0}, ERR_INVALID},
                 {{.user = many, .n_user = MQTT5_USER_MAX + 1}, ERR_LIMIT},
                 {{.content_type = "a\0b", .content_type_len = 3}, ERR_INVALID}};
    world5(&w, V5(), NULL, 0);
    client_connect(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (uint8_t qos = 0; qos < 2; qos++) {
            struct adapter_message m = message("t", qos, &cases[i].meta);
            assert_int_equal(OPS->publish(w.client.conn, &m, 1, &err), -1);
            assert_int_equal(err.code, cases[i].code);
        }
    assert_int_equal(broker_count(&w.broker, MQTT_PUBLISH), 0);
    world_destroy(&w);
}

static void version_311_names_what_it_lacks(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world_create(&w, NULL);
    client_connect(&w);
    struct adapter_meta nothing = {0};
    struct adapter_message m = message("t", 1, &nothing);
    assert_int_equal(OPS->publish(w.client.conn, &m, 1, &err), 0);
    WAIT(&w, w.client.n_done == 1);
    m.meta = &full_meta;
    assert_int_equal(OPS->publish(w.client.conn, &m, 1, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "user properties: only MQTT 5 has it, set version = \"5\""));
    const struct adapter_subscription s = {.filter = "a", .no_local = true};
    assert_int_equal(OPS->subscribe_with(w.client.conn, &s, 1, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "no_local"));
    const struct adapter_request r = {.method = "PUBLISH", .path = "q", .path_len = 1};
    assert_int_equal(OPS->request(w.client.conn, &r, 1, &err), -1);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    world_destroy(&w);
}

static void properties_come_in(void **state)
{
    (void)state;
    struct world w;
    world5(&w, V5(), NULL, 0);
    client_connect(&w);
    struct adapter_property user[] = {{"k", 1, "v", 1}, {"k", 1, "w", 1}};
    struct mqtt5_properties p = {.content_type = {"ct", 2},
                                 .response_topic = {"back", 4},
                                 .correlation_data = {"\0z", 2},
                                 .message_expiry = 9,
                                 .payload_format = 1,
                                 .user = user,
                                 .n_user = 2,
                                 .subscription_ids = {3, 268435455},
                                 .n_subscription_ids = 2};
    const enum mqtt5_property set[] = {MQTT5_CONTENT_TYPE,   MQTT5_RESPONSE_TOPIC, MQTT5_CORRELATION_DATA,
                                       MQTT5_MESSAGE_EXPIRY, MQTT5_PAYLOAD_FORMAT, MQTT5_USER_PROPERTY,
                                       MQTT5_SUBSCRIPTION_ID};
    for (size_t i = 0; i < sizeof set / sizeof *set; i++)
        mqtt5_set(&p, set[i]);
    peer_publish5(last_peer(&w), "in", "x", 1, 5, &p);
    WAIT(&w, w.client.n_messages == 1 && broker_count(&w.broker, MQTT_PUBACK) == 1);
    const struct heard *h = &w.client.heard[0];
    assert_string_equal(h->content_type, "ct");
    assert_string_equal(h->response_topic, "back");
    assert_int_equal(h->correlation_len, 2);
    assert_memory_equal(h->correlation, "\0z", 2);
    assert_string_equal(h->user, "k=v;k=w;");
    assert_int_equal(h->expiry, 9);
    assert_true(h->payload_text);
    assert_int_equal(h->n_ids, 2);
    assert_int_equal(h->ids[1], 268435455);
    peer_publish5(last_peer(&w), "in", "x", 0, 0, NULL);
    WAIT(&w, w.client.n_messages == 2);
    assert_string_equal(w.client.heard[1].user, "");
    world_destroy(&w);
}

static void incoming_aliases(void **state)
{
    (void)state;
    struct world w;
    world5(&w, V5(QUICK ",\"topicAliasMaximum\":2"), NULL, 0);
    client_connect(&w);
    struct mqtt5_properties p = {.topic_alias = 2};
    mqtt5_set(&p, MQTT5_TOPIC_ALIAS);
    peer_publish5(last_peer(&w), "long/topic", "1", 0, 0, &p);
    peer_publish5(last_peer(&w), "", "2", 2, 7, &p);
    peer_publish5(last_peer(&w), "other", "3", 0, 0, &p);
    peer_publish5(last_peer(&w), "", "4", 1, 8, &p);
    WAIT(&w, w.client.n_messages == 4);
    assert_string_equal(w.client.messages[1].topic, "long/topic");
    assert_string_equal(w.client.messages[3].topic, "other");
    p.topic_alias = 1;
    peer_publish5(last_peer(&w), "", "5", 0, 0, &p); // never set
    WAIT(&w, w.client.online == 2);
    assert_int_equal(broker_got(&w.broker, MQTT_DISCONNECT, 0)->reason, 0x82);
    p.topic_alias = 2; // and of this connection neither
    peer_publish5(last_peer(&w), "", "6", 0, 0, &p);
    WAIT(&w, w.client.online == 3);
    p.topic_alias = 3;
    peer_publish5(last_peer(&w), "x", "7", 0, 0, &p);
    WAIT(&w, w.client.online == 4);
    assert_int_equal(broker_got(&w.broker, MQTT_DISCONNECT, 2)->reason, 0x94);
    assert_int_equal(w.client.n_messages, 4);
    world_destroy(&w);
}

static void outgoing_aliases(void **state)
{
    (void)state;
    struct world w;
    world5(&w, V5(QUICK ",\"topicAliases\":true"), "\x22\0\x02", 3); // the server allows two
    client_connect(&w);
    static const struct {
        const char *topic, *sent;
        uint8_t qos;
        uint16_t alias;
    } cases[] = {{"a", "a", 0, 1}, {"a", "", 1, 1}, {"b", "b", 1, 2}, {"a", "", 0, 1},
                 {"c", "c", 0, 2}, {"c", "", 2, 2}, {"b", "b", 0, 1}, {"a", "a", 1, 2}};
    struct error err;
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(client_publish(&w.client, cases[i].topic, "x", cases[i].qos, i + 1, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 8 && w.client.n_done == 4);
    for (unsigned i = 0; i < 8; i++) {
        const struct packet *p = broker_got(&w.broker, MQTT_PUBLISH, i);
        assert_string_equal(p->topic, cases[i].sent);
        assert_int_equal(p->alias, cases[i].alias);
    }
    // A message that is sent again has its topic; the new connection knows no alias.
    w.broker.no_puback = true;
    w.broker.session_present = false;
    assert_int_equal(client_publish(&w.client, "a", "again", 1, 9, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 9);
    assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, 8)->topic, "");
    w.broker.no_puback = false;
    peer_close(last_peer(&w), true);
    WAIT(&w, w.client.n_done == 5);
    assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, 9)->topic, "a");
    assert_int_equal(broker_got(&w.broker, MQTT_PUBLISH, 9)->alias, 0);
    assert_int_equal(client_publish(&w.client, "a", "x", 0, 0, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 11);
    assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, 10)->topic, "a");
    assert_int_equal(broker_got(&w.broker, MQTT_PUBLISH, 10)->alias, 1);
    world_destroy(&w);

    // Only where it is wished for; and not at all where the server has none.
    for (int allowed = 0; allowed < 2; allowed++) {
        world5(&w, V5(), "\x22\0\x02", allowed ? 3 : 0);
        client_connect(&w);
        const struct adapter_meta wish = {.alias = true};
        struct adapter_message m = message("a", 0, &wish);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(OPS->publish(w.client.conn, &m, 0, &err), 0);
        m.meta = NULL;
        assert_int_equal(OPS->publish(w.client.conn, &m, 0, &err), 0);
        WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 3);
        assert_int_equal(broker_got(&w.broker, MQTT_PUBLISH, 1)->alias, allowed);
        assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, 1)->topic, allowed ? "" : "a");
        assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, 2)->topic, "a");
        world_destroy(&w);
    }
}

static void refused_messages_end(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(), NULL, 0);
    client_connect(&w);
    w.broker.puback_reason = 0x97;
    w.broker.pubrec_reason = 0x87;
    assert_int_equal(client_publish(&w.client, "t", "x", 1, 1, &err), 0);
    WAIT(&w, w.client.n_done == 1);
    assert_int_equal(w.client.done[0].code, ERR_REFUSED);
    assert_non_null(strstr(w.client.done_text, "quota exceeded (reason 0x97)"));
    assert_int_equal(client_publish(&w.client, "t", "x", 2, 2, &err), 0);
    WAIT(&w, w.client.n_done == 2);
    assert_int_equal(w.client.done[1].code, ERR_REFUSED);
    SETTLE(&w);
    assert_int_equal(broker_count(&w.broker, MQTT_PUBREL), 0); // 4.3.3: it has ended
    assert_int_equal(OPS->pending(w.client.conn), 0);
    assert_int_equal(metric(&w, "publish_errors", NULL).hits, 2);
    assert_int_equal(metric(&w, "messages_acked", NULL).count, 0);
    w.broker.puback_reason = 0x10; // no matching subscribers: it arrived
    assert_int_equal(client_publish(&w.client, "t", "x", 1, 3, &err), 0);
    WAIT(&w, w.client.n_done == 3);
    assert_int_equal(w.client.done[2].code, ERR_NONE);
    peer_write(last_peer(&w),
               "\x40\x0c\x00\x63\x97\x08\x1f\x00\x05"
               "hello",
               14); // of an id that is not in flight
    peer_ack5(last_peer(&w), MQTT_PUBREC, 99, 0);
    peer_ack5(last_peer(&w), MQTT_PUBREC, 98, 0x80);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBREL) == 1);
    assert_int_equal(broker_got(&w.broker, MQTT_PUBREL, 0)->reason, 0x92);
    assert_int_equal(metric(&w, "acks_unknown", NULL).count, 3);
    world_destroy(&w);
}

static void subscription_options(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(QUICK), NULL, 0);
    client_connect(&w);
    w.broker.suback = 1;
    const struct adapter_subscription s = {
        .filter = "$share/g/a/+", .qos = 1, .retain_as_published = true, .retain_handling = 2, .identifier = 200};
    assert_int_equal(OPS->subscribe_with(w.client.conn, &s, 1, &err), 0);
    WAIT(&w, w.client.n_done == 1);
    assert_int_equal(w.client.done[0].qos, 1);
    const struct packet *p = broker_got(&w.broker, MQTT_SUBSCRIBE, 0);
    assert_int_equal(p->sub_options, 0x29);
    assert_memory_equal(p->body + 2, "\x03\x0b\xc8\x01", 4);
    peer_close(last_peer(&w), true); // subscribed anew in the same way
    WAIT(&w, broker_count(&w.broker, MQTT_SUBSCRIBE) == 2 && w.client.online == 2);
    assert_int_equal(broker_got(&w.broker, MQTT_SUBSCRIBE, 1)->sub_options, 0x29);
    assert_memory_equal(broker_got(&w.broker, MQTT_SUBSCRIBE, 1)->body + 2, "\x03\x0b\xc8\x01", 4);
    w.broker.suback_reason = 0x9e;
    const struct adapter_subscription plain = {.filter = "x"};
    assert_int_equal(OPS->subscribe_with(w.client.conn, &plain, 2, &err), 0);
    WAIT(&w, w.client.n_done == 2);
    assert_int_equal(w.client.done[1].code, ERR_REFUSED);
    assert_non_null(strstr(w.client.done_text, "(reason 0x9e)"));
    w.broker.suback_reason = 0x87; // of an UNSUBACK: it stays subscribed
    assert_int_equal(OPS->unsubscribe(w.client.conn, "$share/g/a/+", 3, &err), 0);
    WAIT(&w, w.client.n_done == 3);
    assert_int_equal(w.client.done[2].code, ERR_REFUSED);
    w.broker.suback_reason = 0;
    w.broker.suback = 0x11; // no subscription existed: fine
    assert_int_equal(OPS->unsubscribe(w.client.conn, "$share/g/a/+", 4, &err), 0);
    WAIT(&w, w.client.n_done == 4);
    assert_int_equal(w.client.done[3].code, ERR_NONE);
    static const struct adapter_subscription bad[] = {{.filter = "a", .retain_handling = 3},
                                                      {.filter = "a", .identifier = 268435456},
                                                      {.filter = "$share/g"},
                                                      {.filter = "$share/g/"},
                                                      {.filter = "$share//a"},
                                                      {.filter = "$share/+/a"},
                                                      {.filter = "$share/g/a", .no_local = true}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(OPS->subscribe_with(w.client.conn, &bad[i], 9, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
    }
    world_destroy(&w);
}

static void shared_subscriptions_are_weighed(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    struct client second;
    world5(&w, V5(QUICK), NULL, 0);
    client_create(&w, &second, "dev-2");
    client_connect(&w);
    assert_int_equal(OPS->conn_open(second.conn, &err), 0);
    WAIT(&w, second.online == 1);
    assert_int_equal(OPS->subscribe(w.client.conn, "$share/g/a/#", 0, 1, &err), 0);
    assert_int_equal(OPS->subscribe(second.conn, "$share/g/a/#", 0, 1, &err), 0);
    WAIT(&w, w.client.n_done == 1 && second.n_done == 1);
    for (int i = 0; i < 3; i++)
        peer_publish5(&w.broker.peers[0], "a/b", "x", 0, 0, NULL);
    peer_publish5(&w.broker.peers[1], "a", "x", 0, 0, NULL);
    peer_publish5(&w.broker.peers[1], "b", "x", 0, 0, NULL); // of something else
    WAIT(&w, w.client.n_messages == 3 && second.n_messages == 2);
    assert_int_equal((int)metric(&w, "share_members", "filter:$share/g/a/#").value, 2);
    assert_int_equal((int)metric(&w, "share_messages", "filter:$share/g/a/#").value, 4);
    assert_int_equal((int)metric(&w, "share_messages_squared", NULL).value, 10);
    // A member that reconnects is the same one; one that left still counts with what it got.
    peer_close(&w.broker.peers[0], true);
    WAIT(&w, w.client.online == 2 && broker_count(&w.broker, MQTT_SUBSCRIBE) == 3);
    peer_publish5(last_peer(&w), "a/b", "x", 0, 0, NULL);
    assert_int_equal(OPS->unsubscribe(second.conn, "$share/g/a/#", 2, &err), 0);
    WAIT(&w, w.client.n_messages == 4 && second.n_done == 2);
    peer_publish5(&w.broker.peers[1], "a", "x", 0, 0, NULL);
    WAIT(&w, second.n_messages == 3);
    assert_int_equal((int)metric(&w, "share_members", NULL).value, 2);
    assert_int_equal((int)metric(&w, "share_messages", NULL).value, 5);
    assert_int_equal((int)metric(&w, "share_messages_squared", NULL).value, 17);
    OPS->conn_delete(second.conn);
    world_destroy(&w);
}

// --- requests

static int ask(struct world *w, const char *topic, const char *body, int64_t timeout_us, uint32_t token,
               struct error *err)
{
    const struct adapter_request r = {.method = "PUBLISH",
                                      .path = topic,
                                      .path_len = strlen(topic),
                                      .payload = (const uint8_t *)body,
                                      .payload_len = strlen(body),
                                      .headers = two_users,
                                      .n_headers = 2,
                                      .timeout_us = timeout_us};
    return OPS->request(w->client.conn, &r, token, err);
}

// Answers the k-th PUBLISH.
static void respond(struct world *w, unsigned k, const char *body)
{
    const struct packet *p = broker_got(&w->broker, MQTT_PUBLISH, k);
    struct mqtt5_properties with = {.correlation_data = {(const char *)p->correlation, p->correlation_len},
                                    .content_type = {"json", 4}};
    mqtt5_set(&with, MQTT5_CORRELATION_DATA);
    mqtt5_set(&with, MQTT5_CONTENT_TYPE);
    peer_publish5(last_peer(w), p->response_topic, body, 1, 9, &with);
}

static void requests_and_responses(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(QUICK), NULL, 0);
    w.client.client_id = "a/+1";
    assert_int_equal(ask(&w, "q", "one", 0, 1, &err), -1);
    assert_int_equal(err.code, ERR_STATE);
    client_connect(&w);
    w.broker.no_suback = true;
    assert_int_equal(ask(&w, "q", "one", 0, 1, &err), 0);
    assert_int_equal(ask(&w, "q", "two", 0, 2, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_SUBSCRIBE) == 1);
    SETTLE(&w);
    assert_int_equal(broker_count(&w.broker, MQTT_PUBLISH), 0); // not before the responses can come
    assert_string_equal(broker_got(&w.broker, MQTT_SUBSCRIBE, 0)->topic, "iotix/responses/a__1");
    w.broker.no_suback = false;
    const struct packet *s = broker_got(&w.broker, MQTT_SUBSCRIBE, 0);
    peer_write(last_peer(&w), (uint8_t[]){0x90, 4, (uint8_t)(s->id >> 8), (uint8_t)s->id, 0, 1}, 6);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 2);
    const struct packet *p = broker_got(&w.broker, MQTT_PUBLISH, 0);
    assert_string_equal(p->payload, "one");
    assert_string_equal(p->topic, "q");
    assert_string_equal(p->response_topic, "iotix/responses/a__1");
    assert_int_equal(p->n_user, 2);
    respond(&w, 1, "second"); // not in order
    respond(&w, 0, "first");
    WAIT(&w, w.client.n_answers == 2);
    assert_int_equal(w.client.answers[0].token, 2);
    assert_string_equal(w.client.answers[0].payload, "second");
    assert_int_equal(w.client.answers[0].status, 200);
    assert_string_equal(w.client.answers[0].header, "content-type=json");
    assert_int_equal(w.client.answers[1].token, 1);
    // Once subscribed, at once; a second response for the same request, and one for none, are counted and dropped.
    assert_int_equal(ask(&w, "q", "three", 0, 3, &err), 0);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 3);
    respond(&w, 2, "third");
    respond(&w, 2, "third again");
    WAIT(&w, metric(&w, "responses_unknown", NULL).count == 1);
    peer_publish5(last_peer(&w), "iotix/responses/a__1", "whose?", 0, 0, NULL);
    WAIT(&w, metric(&w, "responses_unknown", NULL).count == 2);
    assert_int_equal(w.client.n_answers, 3);
    assert_int_equal(w.client.n_messages, 0);
    assert_int_equal(w.client.n_done, 0); // nothing of it is the owner's
    assert_int_equal(broker_count(&w.broker, MQTT_SUBSCRIBE), 1);
    assert_int_equal(metric(&w, "requests", NULL).count, 3);
    assert_int_equal(metric(&w, "request_errors", NULL).hits, 0);
    assert_int_equal(metric(&w, "request_latency", NULL).count, 3);
    world_destroy(&w);
}

static void an_expiry_counts_while_the_response_topic_is_subscribed(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(QUICK), NULL, 0);
    client_connect(&w);
    w.broker.no_suback = true;
    for (uint32_t i = 1; i < 3; i++) {
        json_t *options = json_pack("{s:i}", "expiry", i == 1 ? 1 : 5);
        const struct adapter_request r = {.method = "PUBLISH", .path = "q", .path_len = 1, .options = options};
        assert_int_equal(OPS->request(w.client.conn, &r, i, &err), 0);
        json_decref(options);
    }
    WAIT(&w, broker_count(&w.broker, MQTT_SUBSCRIBE) == 1);
    int64_t until = loop_fresh_us(w.loop) + 1050000;
    WAIT(&w, loop_fresh_us(w.loop) > until);
    const struct packet *s = broker_got(&w.broker, MQTT_SUBSCRIBE, 0);
    peer_write(last_peer(&w), (uint8_t[]){0x90, 4, (uint8_t)(s->id >> 8), (uint8_t)s->id, 0, 1}, 6);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 1 && w.client.n_answers == 1);
    assert_int_equal(broker_got(&w.broker, MQTT_PUBLISH, 0)->expiry, 4);
    assert_int_equal(w.client.answers[0].token, 1);
    assert_non_null(strstr(w.client.answers[0].why.text, "its expiry of 1 s passed"));
    world_destroy(&w);
}

static void requests_that_get_no_response(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    world5(&w, V5(QUICK ",\"timeout\":\"40ms\",\"responseTopic\":\"mine\""), NULL, 0);
    client_connect(&w);
    assert_int_equal(ask(&w, "q", "x", 0, 1, &err), 0); // times out
    WAIT(&w, w.client.n_answers == 1);
    assert_int_equal(w.client.answers[0].why.code, ERR_TIMEOUT);
    assert_non_null(strstr(w.client.answers[0].why.text, "no response within 40"));
    assert_string_equal(broker_got(&w.broker, MQTT_SUBSCRIBE, 0)->topic, "mine/dev-1");
    respond(&w, 0, "too late");
    WAIT(&w, metric(&w, "responses_unknown", NULL).count == 1);
    assert_int_equal(ask(&w, "q", "x", 60000000, 2, &err), 0); // cancelled: nobody is told
    OPS->request_cancel(w.client.conn, 2);
    OPS->request_cancel(w.client.conn, 77);
    assert_int_equal(ask(&w, "q", "x", 60000000, 3, &err), 0); // ended with the connection
    peer_close(last_peer(&w), true);
    WAIT(&w, w.client.n_answers == 2);
    assert_int_equal(w.client.answers[1].token, 3);
    assert_int_equal(w.client.answers[1].why.code, ERR_CLOSED);
    WAIT(&w, w.client.online == 2);
    w.broker.puback_reason = 0x10; // nobody listens
    assert_int_equal(ask(&w, "q", "x", 60000000, 4, &err), 0);
    WAIT(&w, w.client.n_answers == 3);
    assert_int_equal(w.client.answers[2].why.code, ERR_NOT_FOUND);
    w.broker.puback_reason = 0x87;
    assert_int_equal(ask(&w, "q", "x", 60000000, 5, &err), 0);
    WAIT(&w, w.client.n_answers == 4);
    assert_int_equal(w.client.answers[3].why.code, ERR_REFUSED);
    peer_close(last_peer(&w), true);
    WAIT(&w, w.client.online == 3);
    w.broker.suback_reason = 0x87; // responses cannot come
    assert_int_equal(ask(&w, "q", "x", 60000000, 6, &err), 0);
    WAIT(&w, w.client.n_answers == 5);
    assert_int_equal(w.client.answers[4].why.code, ERR_REFUSED);
    assert_int_equal(metric(&w, "request_errors", NULL).hits, 5);
    w.broker.suback_reason = 0;
    w.broker.puback_reason = 0;
    for (uint32_t i = 0; i < 256; i++)
        assert_int_equal(ask(&w, "q", "x", 60000000, 100 + i, &err), 0);
    assert_int_equal(ask(&w, "q", "x", 60000000, 7, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    OPS->conn_close(w.client.conn, ADAPTER_ABRUPT);
    WAIT(&w, w.client.n_answers == 5 + 256);
    assert_int_equal(w.client.answers[0].why.code, ERR_CANCELLED);
    world_destroy(&w);
}

static void bad_requests(void **state)
{
    (void)state;
    struct world w;
    struct error err;
    static const struct {
        const char *method, *path, *options;
        enum error_code code;
    } cases[] = {{"GET", "q", NULL, ERR_INVALID},
                 {"PUBLISH", "q/#", NULL, ERR_INVALID},
                 {"PUBLISH", "", NULL, ERR_INVALID},
                 {"PUBLISH", "q", "{\"qos\":3}", ERR_INVALID},
                 {"PUBLISH", "q", "{\"expiry\":1.5}", ERR_INVALID},
                 {"PUBLISH", "q", "{\"contentType\":1}", ERR_INVALID},
                 {"PUBLISH", "q", "{\"retain\":true}", ERR_INVALID},
                 {"AUTH", "", NULL, ERR_INVALID}};
    world5(&w, V5(), NULL, 0);
    client_connect(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *options = cases[i].options ? json_loads(cases[i].options, 0, NULL) : NULL;
        const struct adapter_request r = {
            .method = cases[i].method, .path = cases[i].path, .path_len = strlen(cases[i].path), .options = options};
        assert_int_equal(OPS->request(w.client.conn, &r, 1, &err), -1);
        assert_int_equal(err.code, cases[i].code);
        json_decref(options);
    }
    json_t *options = json_loads("{\"qos\":0,\"expiry\":5,\"contentType\":\"ct\"}", 0, NULL);
    const struct adapter_request r = {.path = "q", .path_len = 1, .options = options};
    assert_int_equal(OPS->request(w.client.conn, &r, 1, &err), 0);
    json_decref(options);
    WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 1);
    assert_string_equal(broker_got(&w.broker, MQTT_PUBLISH, 0)->content_type, "ct");
    assert_true(broker_got(&w.broker, MQTT_PUBLISH, 0)->has_expiry);
    world_destroy(&w); // deleted with a request under way: nobody is told, nothing leaks
}

static void delete_in_response(struct client *cl, const char *event)
{
    if (strcmp(event, "response") == 0 && cl->conn) {
        OPS->conn_delete(cl->conn);
        cl->conn = NULL;
    }
}

static void deletion_inside_responses(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct world w;
        struct error err;
        world5(&w, V5(",\"timeout\":\"20ms\""), NULL, 0);
        client_connect(&w);
        w.client.hook = delete_in_response;
        for (uint32_t i = 1; i < 4; i++)
            assert_int_equal(ask(&w, "q", "x", how ? 60000000 : 0, i, &err), 0);
        WAIT(&w, broker_count(&w.broker, MQTT_PUBLISH) == 3 || !w.client.conn);
        if (how == 1)
            respond(&w, 1, "y");
        if (how == 2)
            peer_close(last_peer(&w), true);
        WAIT(&w, !w.client.conn);
        assert_int_equal(w.client.n_answers, 1);
        world_destroy(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(properties_go_out_with_every_qos),
        cmocka_unit_test(message_expiry_counts_down_in_the_queue),
        cmocka_unit_test(message_expiry_of_what_is_sent_again),
        cmocka_unit_test(bad_properties_are_refused),
        cmocka_unit_test(version_311_names_what_it_lacks),
        cmocka_unit_test(properties_come_in),
        cmocka_unit_test(incoming_aliases),
        cmocka_unit_test(outgoing_aliases),
        cmocka_unit_test(refused_messages_end),
        cmocka_unit_test(subscription_options),
        cmocka_unit_test(shared_subscriptions_are_weighed),
        cmocka_unit_test(requests_and_responses),
        cmocka_unit_test(requests_that_get_no_response),
        cmocka_unit_test(an_expiry_counts_while_the_response_topic_is_subscribed),
        cmocka_unit_test(bad_requests),
        cmocka_unit_test(deletion_inside_responses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
