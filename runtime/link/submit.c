// io_uring as a faster send(): what a turn of the loop has to send goes into the submission queue, one io_uring_enter
// hands all of it to the kernel, and because no send may wait (MSG_DONTWAIT) every result is there when the call
// returns. Nothing is ever in flight between two turns, so that sockets may be closed and buffers be given back at any
// moment, as with send().
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "link/submit.h"

struct submit {
    struct io_uring ring;
};

static int set_up(struct io_uring *ring)
{
    // One thread submits, and it takes completions only when it asks: spares the kernel interrupts of its own. Kernels
    // before 6.1 know neither flag.
    static const unsigned flags[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
                                     IORING_SETUP_SUBMIT_ALL, 0};
    int rc = -EINVAL;
    for (unsigned i = 0; i < sizeof flags / sizeof flags[0] && rc == -EINVAL; i++) {
        struct io_uring_params params = {.flags = flags[i]};
        rc = io_uring_queue_init_params(SUBMIT_MAX, ring, &params);
    }
    return rc;
}

// An old kernel can have the ring and not the operation.
static int knows_send(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    int known = probe && io_uring_opcode_supported(probe, IORING_OP_SEND);
    io_uring_free_probe(probe);
    return known;
}

struct submit *submit_new(struct error *err)
{
    struct submit *s = calloc(1, sizeof *s);
    if (!s) {
        error_set(err, ERR_NO_MEMORY, "no memory for the ring");
        return NULL;
    }
    int rc = set_up(&s->ring);
    if (rc == 0 && knows_send(&s->ring)) {
        (void)io_uring_register_ring_fd(&s->ring); // best effort: saves looking the descriptor up at each call
        return s;
    }
    if (rc == 0)
        io_uring_queue_exit(&s->ring);
    error_set(err, ERR_UNSUPPORTED, "io_uring: %s", rc ? strerror(-rc) : "this kernel's has no send");
    free(s);
    return NULL;
}

void submit_delete(struct submit *s)
{
    if (!s)
        return;
    io_uring_queue_exit(&s->ring);
    free(s);
}

static unsigned reap(struct io_uring *ring, struct submit_send *sends)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    io_uring_for_each_cqe(ring, head, cqe)
    {
        sends[io_uring_cqe_get_data64(cqe)].result = cqe->res;
        n++;
    }
    io_uring_cq_advance(ring, n);
    return n;
}

int submit_sends(struct submit *s, struct submit_send *sends, unsigned n, struct error *err)
{
    for (unsigned i = 0; i < n; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring); // as many as the queue has, which is empty
        io_uring_prep_send(sqe, sends[i].fd, sends[i].bytes, sends[i].n, MSG_NOSIGNAL | MSG_DONTWAIT);
        io_uring_sqe_set_data64(sqe, i);
        sends[i].result = -EAGAIN;
    }
    for (unsigned done = 0; done < n;) {
        int rc = io_uring_submit_and_wait(&s->ring, n - done);
        if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
            return error_set(err, ERR_IO, "io_uring: %s", strerror(-rc));
        done += reap(&s->ring, sends);
    }
    return 0;
}
