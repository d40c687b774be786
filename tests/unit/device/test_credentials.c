// Credentials by field, tokens for each device, and their renewal.
#include "fake_serve.h"
#include "core/jsonx.h"
#include "device/credentials.h"

struct world {
    struct loop *loop;
    struct fleet *fleet;
    struct metrics *metrics;
    struct model *model;
    struct group *group;
    struct buf out;
};

static int try_begin(struct world *w, const char *credentials, const char *url, struct error *err)
{
    memset(w, 0, sizeof(*w));
    w->loop = fake_setup();
    fake.auto_online = true;
    buf_create(&w->out, 16384);
    struct fleet_config config = fs_fleet_config();
    w->metrics = config.env.metrics = metrics_new(1000);
    w->fleet = fleet_new(&config, err);
    w->model = model_of("{" SENSOR_HEAD ",\"telemetry\":[]}");
    w->model->protocol = NULL; // whatever the URL says
    struct group_config g = fake_group_config("g", 3, w->model);
    json_t *json = json_loads(credentials, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    g.url = url;
    g.credentials = json;
    w->group = fleet_add_group(w->fleet, &g, err);
    json_decref(json);
    return w->group ? 0 : -1;
}

static void end(struct world *w)
{
    fleet_delete(w->fleet);
    metrics_delete(w->metrics);
    model_delete(w->model);
    buf_destroy(&w->out);
    fake_teardown();
}

static void begin(struct world *w, const char *credentials, const char *url)
{
    struct error err = {0};
    if (try_begin(w, credentials, url, &err))
        fail_msg("%s", err.text);
    fleet_start(w->fleet, loop_now_us(w->loop));
    run_until(w->loop, loop_now_us(w->loop) + 10000);
}

static const char *field(struct world *w, unsigned device, enum adapter_field f)
{
    struct error err = {0};
    buf_clear(&w->out);
    if (device_field(w->group->devices[device], f, &w->out, &err))
        fail_msg("%s", err.text);
    return buf_cstr(&w->out);
}

static void patterns_are_rendered_for_each_device(void **state)
{
    struct world w;
    (void)state;
    begin(&w,
          "{\"username\":\"u-${index}\",\"password\":\"p\",\"token\":\"t/${deviceId}\",\"tls_cert\":\"certs/"
          "${deviceId}.pem\","
          "\"tls_key\":\"keys/${deviceId}.pem\",\"tls_name\":\"${deviceId}.example\",\"psk_identity\":\"${groupId}\","
          "\"psk_key\":\"00ff\",\"client_id\":\"c-${index}\",\"jwt\":null}",
          "serve://x");
    assert_string_equal(field(&w, 0, FIELD_CLIENT_ID), "c-1");
    assert_string_equal(field(&w, 2, FIELD_USERNAME), "u-3");
    assert_string_equal(field(&w, 1, FIELD_PASSWORD), "p");
    assert_string_equal(field(&w, 1, FIELD_TOKEN), "t/g-2");
    assert_string_equal(field(&w, 0, FIELD_TLS_CERT), "certs/g-1.pem");
    assert_string_equal(field(&w, 0, FIELD_TLS_KEY), "keys/g-1.pem");
    assert_string_equal(field(&w, 0, FIELD_TLS_NAME), "g-1.example");
    assert_string_equal(field(&w, 0, FIELD_PSK_IDENTITY), "g");
    assert_string_equal(field(&w, 0, FIELD_PSK_KEY), "00ff");
    end(&w);
    begin(&w, "null", "serve://x"); // absent is nothing
    assert_string_equal(field(&w, 0, FIELD_TOKEN), "");
    assert_string_equal(field(&w, 0, FIELD_CLIENT_ID), "iotix-g-1");
    end(&w);
}

static json_t *claims_of(const char *token)
{
    char part[2048];
    uint8_t bytes[2048];
    struct error err;
    const char *first = strchr(token, '.'), *second = strchr(first + 1, '.');
    size_t n = (size_t)(second - first) - 1, k = 0;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0, have = 0;
    memcpy(part, first + 1, n);
    for (size_t i = 0; i < n; i++) {
        bits = bits << 6 | (uint32_t)(strchr(digits, part[i]) - digits);
        have += 6;
        if (have >= 8)
            bytes[k++] = (uint8_t)(bits >> (have -= 8));
    }
    return json_parse((char *)bytes, k, "claims", &err);
}

static void a_token_is_signed_for_each_device(void **state)
{
    struct world w;
    (void)state;
    begin(&w,
          "{\"jwt\":{\"algorithm\":\"HS256\",\"key\":\"secret\",\"key_id\":\"k-${index}\",\"ttl\":600000000,"
          "\"claims\":{\"sub\":\"${deviceId}\",\"aud\":[\"a\",\"${groupId}\"],\"n\":7,\"odd\":\"\\\"${index}\\\"\"}}}",
          "serve://x");
    json_t *claims = claims_of(field(&w, 1, FIELD_TOKEN));
    assert_string_equal(json_string_value(json_object_get(claims, "sub")), "g-2");
    assert_string_equal(json_string_value(json_array_get(json_object_get(claims, "aud"), 1)), "g");
    assert_string_equal(json_string_value(json_object_get(claims, "odd")), "\"2\"");
    assert_int_equal(json_integer_value(json_object_get(claims, "n")), 7);
    json_int_t issued = json_integer_value(json_object_get(claims, "iat"));
    assert_int_equal(issued, loop_wall_us(w.loop) / 1000000);
    assert_int_equal(json_integer_value(json_object_get(claims, "exp")), issued + 600);
    json_decref(claims);
    assert_string_equal(field(&w, 1, FIELD_PASSWORD), ""); // what is not MQTT has it as a token
    run_until(w.loop, loop_now_us(w.loop) + 5000000);
    claims = claims_of(field(&w, 1, FIELD_TOKEN)); // anew each time
    assert_int_equal(json_integer_value(json_object_get(claims, "iat")), issued + 5);
    json_decref(claims);
    run_until(w.loop, loop_now_us(w.loop) + (int64_t)3600 * 1000000);
    assert_int_equal(served.n_renewed, 0); // no connection hangs on it
    end(&w);
}

// At 0.8 of 100 s, each within 5 % of it, when what is under way is acknowledged; and again behind it.
static void a_connection_is_renewed_before_its_password_expires(void **state)
{
    struct world w;
    (void)state;
    begin(&w, "{\"jwt\":{\"key\":\"secret\",\"ttl\":100000000,\"as\":\"password\"}}", "serve://x");
    int64_t online = loop_now_us(w.loop);
    assert_true(strlen(field(&w, 0, FIELD_PASSWORD)) > 20);
    run_until(w.loop, online + 75000000);
    assert_int_equal(served.n_renewed, 0);
    run_until(w.loop, online + 85000000);
    assert_int_equal(served.n_renewed, 3);
    for (struct adapter_conn *c = fake.conns; c; c = c->next)
        fake_online(c, false);
    run_until(w.loop, online + 150000000);
    assert_int_equal(served.n_renewed, 3);
    for (struct adapter_conn *c = fake.conns; c; c = c->next)
        c->pending = 1;
    run_until(w.loop, online + 175000000);
    assert_int_equal(served.n_renewed, 6); // two seconds later it does not wait any more
    struct metric *counted = w.group->credential_refreshes;
    assert_non_null(counted);
    assert_int_equal(counted->count, 6);
    end(&w);
}

static void a_renewal_waits_for_acknowledgements(void **state)
{
    struct world w;
    (void)state;
    begin(&w, "{\"jwt\":{\"key\":\"secret\",\"ttl\":100000000,\"as\":\"password\"}}", "serve://x");
    int64_t online = loop_now_us(w.loop);
    for (struct adapter_conn *c = fake.conns; c; c = c->next)
        c->pending = 1;
    run_until(w.loop, online + 76500000); // the earliest may be due at 76 s
    for (unsigned before = served.n_renewed, i = 0; i < 3000 && served.n_renewed == before; i++)
        run_until(w.loop, loop_now_us(w.loop) + 10000);
    assert_true(loop_now_us(w.loop) - online >= 78000000);
    end(&w);
}

static void refuses(const char *credentials, const char *part)
{
    struct world w;
    struct error err = {0};
    assert_int_equal(try_begin(&w, credentials, "serve://x", &err), -1);
    if (!strstr(err.text, part))
        fail_msg("%s: \"%s\" lacks \"%s\"", credentials, err.text, part);
    assert_null(strstr(err.text, "hush"));
    end(&w);
}

static void what_is_wrong_is_told_when_the_group_is_made(void **state)
{
    (void)state;
    refuses("{\"tls_crt\":\"x\"}", "group g: credentials: unknown key \"tls_crt\"; valid: client_id");
    refuses("{\"tls_crt\":\"x\"}", "did you mean \"tls_cert\"?");
    refuses("{\"token\":7}", "token");
    refuses("[]", "expected an object");
    refuses("{\"tls_cert\":\"x\"}", "tls_cert without tls_key");
    refuses("{\"psk_key\":\"00\"}", "psk_key without psk_identity");
    refuses("{\"username\":\"${devceId}\"}", "deviceId");
    refuses("{\"password\":\"hush ${devceId}\"}", "credentials: password: ");
    refuses("{\"username\":\"${data.user}\"}", "data");
    refuses("{\"jwt\":\"x\"}", "jwt: expected an object");
    refuses("{\"jwt\":{\"key\":null}}", "jwt: it has no key");
    refuses("{\"jwt\":{\"key\":\"\"}}", "expected a \"key\"");
    refuses("{\"jwt\":{\"key\":\"hush\",\"algorithm\":\"none\"}}", "valid: HS256, RS256, ES256");
    refuses("{\"jwt\":{\"key\":\"hush\",\"algorithm\":\"ES256\"}}", "jwt: key: the key is neither PEM text");
    refuses("{\"jwt\":{\"key\":\"hush\",\"ttl\":1}}", "5 seconds to 10 years");
    refuses("{\"jwt\":{\"key\":\"hush\",\"refresh\":2}}", "from 0 (never) to 1");
    refuses("{\"jwt\":{\"key\":\"hush\",\"as\":\"header\"}}", "valid: password, token");
    refuses("{\"jwt\":{\"key\":\"hush\",\"claims\":7}}", "claims: expected an object");
    refuses("{\"jwt\":{\"key\":\"hush\",\"claims\":{\"a\":\"${x}\"}}}", "claims: ");
    refuses("{\"jwt\":{\"key\":\"hush\",\"kid\":\"a\"}}", "unknown key \"kid\"");
    refuses("{\"token\":\"x\",\"jwt\":{\"key\":\"hush\"}}", "takes the place of the token");
}

static void a_key_of_its_own_is_read_when_it_signs(void **state)
{
    struct world w;
    struct error err = {0};
    (void)state;
    begin(&w, "{\"jwt\":{\"key\":\"secret of ${deviceId}\"}}", "serve://x");
    char first[512];
    snprintf(first, sizeof(first), "%s", field(&w, 0, FIELD_TOKEN));
    assert_string_not_equal(strrchr(first, '.'), strrchr(field(&w, 1, FIELD_TOKEN), '.'));
    end(&w);
    begin(&w, "{\"jwt\":{\"key\":\"/nowhere/${deviceId}.pem\",\"algorithm\":\"ES256\"}}", "serve://x");
    buf_clear(&w.out);
    assert_int_equal(device_field(w.group->devices[0], FIELD_TOKEN, &w.out, &err), -1);
    assert_non_null(strstr(err.text, "jwt: the key is neither PEM text nor a file"));
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_are_rendered_for_each_device),
        cmocka_unit_test(a_token_is_signed_for_each_device),
        cmocka_unit_test(a_connection_is_renewed_before_its_password_expires),
        cmocka_unit_test(a_renewal_waits_for_acknowledgements),
        cmocka_unit_test(what_is_wrong_is_told_when_the_group_is_made),
        cmocka_unit_test(a_key_of_its_own_is_read_when_it_signs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
