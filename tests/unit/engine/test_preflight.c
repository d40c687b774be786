// Does a plan fit this machine; and the digest that names a scenario.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/jsonx.h"
#include "engine/digest.h"
#include "engine/preflight.h"

// extra: members of the first group, each with a comma in front; a second group when count2 > 0.
static struct plan *plan_of(uint64_t count, const char *extra, uint64_t count2, const char *extra2)
{
    struct error err;
    char text[1024], second[400] = "";
    if (count2)
        snprintf(second, sizeof(second), ",{\"name\":\"b\",\"count\":%llu,\"behaviour\":true%s}",
                 (unsigned long long)count2, extra2);
    snprintf(text, sizeof(text),
             "{\"name\":\"t\",\"file\":\"f.lua\",\"broker\":\"mqtt://h\",\"duration\":1000000,\"groups\":["
             "{\"name\":\"a\",\"count\":%llu,\"behaviour\":true%s}%s]}",
             (unsigned long long)count, extra, second);
    struct plan *plan = plan_parse(json_parse(text, strlen(text), "plan", &err), &err);
    if (!plan)
        fail_msg("%s", err.text);
    return plan;
}

// In a child with its own descriptor limit. Returns rc; out and err come back through a pipe.
struct answer {
    int rc;
    struct preflight p;
    struct error err;
    struct rlimit after;
};

static struct answer ask(struct plan *plan, unsigned shards, unsigned part, unsigned parts, bool embedded, rlim_t soft,
                         rlim_t hard)
{
    struct answer a;
    int fds[2];
    memset(&a, 0, sizeof(a));
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit l = {soft, hard};
        if (setrlimit(RLIMIT_NOFILE, &l))
            _exit(3);
        a.rc = preflight_check(plan, shards, part, parts, embedded, &a.p, &a.err);
        getrlimit(RLIMIT_NOFILE, &a.after);
        _exit(write(fds[1], &a, sizeof(a)) == (ssize_t)sizeof(a) ? 0 : 4);
    }
    close(fds[1]);
    int status = 0;
    assert_int_equal(read(fds[0], &a, sizeof(a)), sizeof(a));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(fds[0]);
    plan_delete(plan);
    return a;
}

static void a_small_plan_fits(void **state)
{
    (void)state;
    struct answer a = ask(plan_of(220, "", 0, ""), 0, 0, 0, true, 256, 1024);
    assert_int_equal(a.rc, 0);
    assert_int_equal(a.p.shards, 1);
    assert_int_equal(a.p.devices, 220);
    assert_int_equal(a.p.fds_needed, 220 + 64);
    assert_int_equal(a.p.fds_limit, 1024);
    assert_int_equal(a.after.rlim_cur, 1024); // raised
    assert_true(a.p.memory_needed > 0 && a.p.memory_available > 0);
    json_t *json = preflight_json(&a.p);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "descriptors"), "needed")), 284);
    json_decref(json);
}

static void shards_follow_descriptors_and_load(void **state)
{
    (void)state;
    struct answer a = ask(plan_of(2000, "", 0, ""), 0, 0, 0, false, 512, 512);
    assert_int_equal(a.rc, 0); // 2,000 / (512 - 128) = 6 shards, whatever the cores
    assert_int_equal(a.p.shards, 6);
    assert_true(a.p.fds_needed <= 512);
    a = ask(plan_of(12001, "", 0, ""), 0, 0, 0, false, 1024, 16000);
    assert_int_equal(a.rc, 0);
    assert_int_equal(a.p.shards, a.p.cores >= 2 ? 2 : 1);
    a = ask(plan_of(2000, "", 0, ""), 3, 2, 4, false, 512, 512); // 500 of them, on 3 shards
    assert_int_equal(a.rc, 0);
    assert_int_equal(a.p.devices, 500);
    assert_int_equal(a.p.fds_needed, 167 + 64);
}

static struct plan *plan_with_connections(uint64_t count, unsigned connections, const char *group)
{
    struct plan *plan = plan_of(count, group, 0, "");
    struct error err;
    json_t *json = json_deep_copy(plan->json);
    plan_delete(plan);
    json_object_set_new(json, "connections", json_integer(connections));
    plan = plan_parse(json, &err);
    if (!plan)
        fail_msg("%s", err.text);
    return plan;
}

// They make for more shards; where the number of shards is the user's, they are a warning.
static void what_behaviours_may_open_counts(void **state)
{
    (void)state;
    char text[300];
    struct answer a = ask(plan_with_connections(2000, 2, ""), 0, 0, 0, false, 512, 512);
    assert_int_equal(a.rc, 0);
    assert_int_equal(a.p.sockets, 6000);
    assert_int_equal(a.p.shards, 16); // 6,000 / (512 - 128)
    assert_int_equal(a.p.fds_needed, 125 * 3 + 64);
    assert_int_equal(a.p.fds_further, 250);
    assert_null(preflight_warning(&a.p, text, sizeof(text)));
    a = ask(plan_with_connections(300, 2, ""), 1, 0, 0, false, 512, 512);
    assert_int_equal(a.rc, 0);
    assert_non_null(preflight_warning(&a.p, text, sizeof(text)));
    assert_non_null(strstr(text, "need 964 descriptors in one process, the limit is 512"));
    assert_non_null(strstr(text, "--shards 3"));
    a = ask(plan_with_connections(500, 2, ""), 1, 0, 0, false, 512, 512); // their own are too many already
    assert_int_equal(a.rc, -1);
    a = ask(plan_with_connections(10, 99, ""), 0, 0, 0, false, 512, 512); // a device has 16 at most
    assert_int_equal(a.p.sockets, 170);
}

static void what_does_not_fit_says_numbers_and_remedy(void **state)
{
    (void)state;
    struct answer a = ask(plan_of(2000, "", 0, ""), 1, 0, 0, false, 512, 512);
    assert_int_equal(a.rc, -1);
    assert_int_equal(a.err.code, ERR_LIMIT);
    assert_non_null(strstr(a.err.text, "2,064"));
    assert_non_null(strstr(a.err.text, "the limit is 512"));
    assert_non_null(strstr(a.err.text, "--shards 6"));
    a = ask(plan_of(2000, "", 0, ""), 0, 0, 0, true, 512, 512);
    assert_int_equal(a.rc, -1);
    assert_non_null(strstr(a.err.text, "embedded broker"));
    assert_non_null(strstr(a.err.text, "ulimit -n 2064"));
    a = ask(plan_of(70000, "", 0, ""), 0, 0, 0, false, 4096, 16000);
    assert_int_equal(a.rc, -1);
    assert_non_null(strstr(a.err.text, "70,064"));
    assert_non_null(strstr(a.err.text, "ip_local_port_range"));
    a = ask(plan_of(900000000, ",\"adapter\":{\"source\":[\"a\",\"b\"]}", 0, ""), 4000, 0, 0, false, 1024, 16000);
    assert_int_equal(a.rc, -1);
    a = ask(plan_of(10, "", 0, ""), 0, 5, 4, false, 512, 512);
    assert_int_equal(a.err.code, ERR_INVALID);
    assert_non_null(strstr(a.err.text, "--partition 5/4"));
    a = ask(plan_of(10, "", 0, ""), 99999, 0, 0, false, 512, 512);
    assert_int_equal(a.err.code, ERR_INVALID);
}

static void virtual_time_needs_memory_and_cores_alone(void **state)
{
    (void)state;
    struct preflight p;
    struct error err;
    struct plan *plan = plan_of(100000, "", 0, ""); // more than descriptors or ports would allow
    assert_int_equal(preflight_virtual(plan, 0, 0, 0, false, &p, &err), 0);
    assert_int_equal(p.devices, 100000);
    assert_int_equal(p.shards, p.cores);
    assert_int_equal(p.ports_needed, 0);
    assert_int_equal(preflight_virtual(plan, 0, 0, 0, true, &p, &err), 0);
    assert_int_equal(p.shards, 1); // somebody reads along
    assert_int_equal(preflight_virtual(plan, 3, 2, 4, true, &p, &err), 0);
    assert_int_equal(p.shards, 3);
    assert_int_equal(p.devices, 25000);
    assert_int_equal(preflight_virtual(plan, 0, 5, 4, false, &p, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    plan_delete(plan);
    plan = plan_of(50, "", 0, "");
    assert_int_equal(preflight_virtual(plan, 0, 0, 0, false, &p, &err), 0);
    assert_int_equal(p.shards, 1); // too few to be worth a merge
    plan_delete(plan);
    plan = plan_of(1000000000, "", 0, "");
    assert_int_equal(preflight_virtual(plan, 0, 0, 0, false, &p, &err), -1);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.text, "memory"));
    plan_delete(plan);
}

#define OTHER ",\"broker\":\"mqtt://other\""

static void ports_are_counted_per_path(void **state)
{
    (void)state;
    struct answer a = ask(plan_of(15000, OTHER, 15000, OTHER), 0, 0, 0, false, 4096, 16000); // same target: together
    assert_int_equal(a.p.ports_needed, 30064);
    a = ask(plan_of(15000, ",\"broker\":\"embedded\"", 15000, ",\"broker\":\"mqtt://embedded\""), 0, 0, 0, false, 4096,
            16000); // spread over 30 addresses of loopback
    assert_int_equal(a.p.ports_needed, 2 * 4096 + 64);
    a = ask(plan_of(15000, OTHER ",\"adapter\":{\"source\":\"127.0.0.0/28\"}", 1, ""), 0, 0, 0, false, 4096, 16000);
    assert_int_equal(a.p.ports_needed, 15000 / 14 + 1 + 64);
    a = ask(plan_of(15000, ",\"adapter\":{\"source\":\"127.0.0.2\"}", 15000, ",\"adapter\":{\"source\":\"127.0.0.3\"}"),
            0, 0, 0, false, 4096, 16000);
    assert_int_equal(a.p.ports_needed, 15064);
    assert_int_equal(a.rc, 0);
    a = ask(plan_of(15000, OTHER, 12000, ",\"broker\":\"mqtt://another\""), 0, 0, 0, false, 4096, 16000);
    assert_int_equal(a.p.ports_needed, 15064);
}

static void digests(void **state)
{
    (void)state;
    // FIPS 180-4 examples, and the lengths around the padding (checked against coreutils' sha256sum).
    char hex[65], a[200];
    sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(a, 'a', sizeof(a));
    sha256_hex(a, 55, hex);
    assert_string_equal(hex, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    sha256_hex(a, 64, hex);
    assert_string_equal(hex, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
    sha256_hex(a, 200, hex);
    assert_string_equal(hex, "c2a908d98f5df987ade41b5fce213067efbcc21ef2240212a41e54b5e7c28ae5");
}

// The cases set limits of up to 16,000 descriptors.
static int needs_descriptors(void **state)
{
    (void)state;
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_max < 16000) {
        fprintf(stderr, "the hard limit of descriptors is below 16,000\n");
        skip();
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_plan_fits),
        cmocka_unit_test(what_behaviours_may_open_counts),
        cmocka_unit_test_setup(shards_follow_descriptors_and_load, needs_descriptors),
        cmocka_unit_test_setup(what_does_not_fit_says_numbers_and_remedy, needs_descriptors),
        cmocka_unit_test_setup(ports_are_counted_per_path, needs_descriptors),
        cmocka_unit_test(virtual_time_needs_memory_and_cores_alone),
        cmocka_unit_test(digests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
