#include "adapter/http/guard.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "core/clock.h"

#define CIVETWEB_HEADERS 64

unsigned http_guard_check(const struct mg_request_info *info, uint64_t max_body, const char **why)
{
    unsigned lengths = 0, codings = 0, hosts = 0;
    for (int i = 0; i < info->num_headers; i++) {
        const char *name = info->http_headers[i].name, *value = info->http_headers[i].value;
        if (strcasecmp(name, "Content-Length") == 0) {
            lengths++;
            if (!*value || value[strspn(value, "0123456789")])
                lengths = 2;
        } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
            codings++;
            if (strcasecmp(value, "chunked") != 0)
                codings = 2;
        } else if (strcasecmp(name, "Host") == 0) {
            hosts++;
        }
    }
    if (info->num_headers >= CIVETWEB_HEADERS) {
        *why = "too many headers";
        return 431;
    }
    if (lengths + codings > 1) {
        *why = "more than one length of the body";
        return 400;
    }
    if (hosts > 1 || (!hosts && info->http_version && strcmp(info->http_version, "1.1") == 0)) {
        *why = "expected one Host header";
        return 400;
    }
    if (info->content_length > 0 && (uint64_t)info->content_length > max_body) {
        *why = "the body is too large";
        return 413;
    }
    return 0;
}

unsigned http_guard_read(struct mg_connection *conn, int64_t timeout_us, struct buf *body, const char **why)
{
    const struct mg_request_info *info = mg_get_request_info(conn);
    struct clock clock;
    char bytes[16384];
    long long expected = info->content_length;
    clock_create_real(&clock);
    int64_t until = clock_now_us(&clock) + timeout_us;
    bool has_body = expected > 0 || mg_get_header(conn, "Transfer-Encoding");
    while (has_body && (expected < 0 || (long long)body->len < expected)) {
        int n = mg_read(conn, bytes, sizeof bytes);
        if (n <= 0) {
            if (n == 0 && expected < 0)
                break;
            *why = "the body is not complete";
            return 400;
        }
        if (buf_append(body, bytes, (size_t)n) < 0) {
            *why = "the body is too large";
            return 413;
        }
        if (clock_now_us(&clock) > until) {
            *why = "the body came too slowly";
            return 408;
        }
    }
    return 0;
}

const char *http_reason(unsigned status)
{
    return mg_get_response_code_text(NULL, (int)status);
}

static void *stop(void *civetweb)
{
    mg_stop(civetweb);
    return NULL;
}

static void knock(const struct sockaddr_storage *at, socklen_t len)
{
    int fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    (void)!connect(fd, (const struct sockaddr *)at, len); // under way is enough
    close(fd);
}

void http_guard_stop(struct mg_context *civetweb, const char *host, int port)
{
    struct sockaddr_storage at = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&at;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&at;
    socklen_t len = sizeof *v4;
    pthread_t thread;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        len = sizeof *v6;
    }
    if (!at.ss_family || pthread_create(&thread, NULL, stop, civetweb) != 0) {
        mg_stop(civetweb);
        return;
    }
    struct timespec until;
    do {
        knock(&at, len);
        clock_gettime(CLOCK_REALTIME, &until); // what pthread_timedjoin_np counts in
        until.tv_nsec += 10000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
    } while (pthread_timedjoin_np(thread, NULL, &until) != 0);
}
