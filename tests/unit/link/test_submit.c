// Many sends in one call: each has the result that send() would have had.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "link/submit.h"

static struct submit *ring;

static void each_has_its_own_result(void **state)
{
    (void)state;
    static uint8_t large[4u << 20];
    int gone[2], full[2], fine[2], partial[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, gone);
    socketpair(AF_UNIX, SOCK_STREAM, 0, full);
    socketpair(AF_UNIX, SOCK_STREAM, 0, fine);
    socketpair(AF_UNIX, SOCK_STREAM, 0, partial);
    close(gone[1]);
    while (send(full[0], large, 4096, MSG_DONTWAIT) > 0)
        ;
    struct submit_send sends[] = {
        {gone[0], large, 10, 0},
        {full[0], large, 10, 0},
        {fine[0], (const uint8_t *)"hello", 5, 0},
        {-1, large, 1, 0},
        {partial[0], large, sizeof large, 0},
    };
    assert_int_equal(submit_sends(ring, sends, 5, NULL), 0);
    assert_int_equal(sends[0].result, -EPIPE);  // and no SIGPIPE
    assert_int_equal(sends[1].result, -EAGAIN); // at once, though the descriptor is a blocking one
    assert_int_equal(sends[2].result, 5);
    assert_int_equal(sends[3].result, -EBADF);
    assert_in_range(sends[4].result, 1, sizeof large - 1);
    char got[8] = {0};
    assert_int_equal(read(fine[1], got, sizeof got), 5);
    assert_string_equal(got, "hello");
    // What was refused is not sent later.
    assert_int_equal(submit_sends(ring, sends + 2, 1, NULL), 0);
    static uint8_t drain[8u << 20];
    ssize_t n, total = 0;
    while ((n = recv(full[1], drain, sizeof drain, MSG_DONTWAIT)) > 0)
        total += n;
    assert_int_equal(total % 4096, 0);
    close(gone[0]);
    for (int i = 0; i < 2; i++) {
        close(full[i]);
        close(fine[i]);
        close(partial[i]);
    }
}

static void as_many_as_there_is_room_for(void **state)
{
    (void)state;
    int pairs[SUBMIT_MAX][2];
    struct submit_send sends[SUBMIT_MAX];
    uint32_t text[SUBMIT_MAX];
    for (unsigned i = 0; i < SUBMIT_MAX; i++)
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pairs[i]), 0);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < SUBMIT_MAX; i++) {
            text[i] = round * 1000 + i;
            sends[i] = (struct submit_send){pairs[i][0], (const uint8_t *)&text[i], sizeof text[i], 0};
        }
        assert_int_equal(submit_sends(ring, sends, SUBMIT_MAX, NULL), 0);
        for (unsigned i = 0; i < SUBMIT_MAX; i++) {
            uint32_t got = 0;
            assert_int_equal(sends[i].result, sizeof got);
            assert_int_equal(read(pairs[i][1], &got, sizeof got), sizeof got);
            assert_int_equal(got, text[i]);
        }
    }
    for (unsigned i = 0; i < SUBMIT_MAX; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_has_its_own_result),
        cmocka_unit_test(as_many_as_there_is_room_for),
    };
    struct error why;
    ring = submit_new(&why);
    if (!ring) {
        assert_int_equal(why.code, ERR_UNSUPPORTED);
        printf("skipped: %s\n", why.text);
        return 0;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    submit_delete(ring);
    return failed;
}
