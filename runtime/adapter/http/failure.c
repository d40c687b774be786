// What went wrong, in words a person can act on.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "adapter/http/exchange.h"

// Whom the attempt went to: "https://host:port".
static const char *origin_of(const struct http_exchange *x, char *dst, size_t size)
{
    const char *url = buf_cstr((struct buf *)(uintptr_t)&x->url);
    if (x->foreign)
        snprintf(dst, size, "%.*s", (int)(strcspn(url + 8, "/?#") + 8), url); // behind https://
    else
        snprintf(dst, size, "%s", x->conn->target->origin);
    return dst;
}

// "HTTP/2 stream 0 was not closed cleanly: REFUSED_STREAM (err 7)" and its like.
static void explain_stream(const char *origin, const char *text, struct error *err)
{
    const char *name = strstr(text, "cleanly: ");
    if (name && strstr(name, "PROTOCOL_ERROR")) // nghttp2 answers a malformed header or length with it, and so may they
        error_set(err, ERR_PROTOCOL, "%s: the answer breaks the rules of HTTP/2 (RST_STREAM %.60s)", origin,
                  name + strlen("cleanly: "));
    else if (name)
        error_set(err, ERR_CLOSED, "%s ended the answer with RST_STREAM %.60s", origin, name + strlen("cleanly: "));
    else
        error_set(err, ERR_CLOSED, "%s ended the answer before it was complete: %.200s", origin, text);
}

static void explain_received(const char *origin, const char *text, struct error *err)
{
    static const char nghttp2[] = "nghttp2_session_mem_recv() returned -";
    const char *at = strstr(text, nghttp2), *why = at ? strchr(at, ':') : NULL;
    if (why) { // what it bears, and what it gives up a connection for
        const char *number = at + sizeof nghttp2 - 1;
        bool headers = strncmp(number, "902", 3) == 0 || strncmp(number, "905", 3) == 0; // libcurl's cap, its own
        error_set(err, headers ? ERR_LIMIT : ERR_PROTOCOL, "%s: %s (HTTP/2: %.160s)", origin,
                  headers ? "the answer has too many headers" : "the server's frames are refused", why + 1);
        return;
    }
    enum error_code code = strstr(text, "hunk")           ? ERR_PROTOCOL // what breaks the framing of a body comes here
                           : strstr(text, "SSL routines") ? ERR_TLS
                                                          : ERR_CLOSED;
    error_set(err, code, "%s: %.300s", origin, text);
}

static void explain_tls(const char *origin, const char *text, struct error *err)
{
    if (strstr(text, "wrong version number") || strstr(text, "packet length too long"))
        error_set(err, ERR_TLS, "%s: what the server said is no TLS: its port has none, or it is another server",
                  origin);
    else if (strstr(text, "unexpected eof") || strstr(text, "SSL_ERROR_SYSCALL"))
        error_set(err, ERR_TLS, "%s: the server ended the connection in the TLS handshake: is this a TLS port?",
                  origin);
    else
        error_set(err, ERR_TLS, "%s: %.300s", origin, text); // certificates are explained by tls.c
}

// libcurl says of both versions that nothing came; of HTTP/2 it does so when nghttp2 has ended the session.
static bool spoke_http2(const struct http_exchange *x)
{
    long version = 0;
    curl_easy_getinfo(x->easy, CURLINFO_HTTP_VERSION, &version);
    return version == CURL_HTTP_VERSION_2_0 ||
           (!x->conn->target->tls && x->conn->target->options.version == HTTP_VERSION_2);
}

static bool is_tls(CURLcode rc)
{
    return rc == CURLE_SSL_CONNECT_ERROR || rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CERTPROBLEM ||
           rc == CURLE_SSL_CIPHER || rc == CURLE_SSL_CACERT_BADFILE || rc == CURLE_SSL_ISSUER_ERROR ||
           rc == CURLE_SSL_INVALIDCERTSTATUS || rc == CURLE_SSL_CLIENTCERT || rc == CURLE_SSL_ENGINE_INITFAILED;
}

void http_explain(const struct http_exchange *x, CURLcode rc, struct error *err)
{
    const char *text = x->curl_error[0] ? x->curl_error : curl_easy_strerror(rc);
    char origin[600];
    long os_errno = 0;
    origin_of(x, origin, sizeof origin);
    if (x->err.code) {
        *err = x->err;                                                // a callback of ours had the reason
        if (err->code == ERR_TLS || (x->connect_us && !x->connected)) // of a connect: it says not yet to whom
            error_prefix(err, "%s", origin);
        return;
    }
    if (is_tls(rc)) {
        explain_tls(origin, text, err);
        return;
    }
    switch (rc) {
    case CURLE_COULDNT_CONNECT:
        curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &os_errno);
        errno = (int)os_errno ? (int)os_errno : ECONNREFUSED;
        error_set_errno(err, "%s", origin);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        error_set(err, ERR_TIMEOUT, "%s: %.300s", origin,
                  x->connected || !x->connect_us ? text : "not connected in time");
        break;
    case CURLE_OUT_OF_MEMORY: // libcurl's word for a header line of more than it bears, too
        if (x->connected || !x->connect_us)
            error_set(err, ERR_LIMIT, "%s: the answer has a header line that never ends, or there is no memory",
                      origin);
        else
            error_set(err, ERR_NO_MEMORY, "no memory for a transfer");
        break;
    case CURLE_GOT_NOTHING:
        if (spoke_http2(x))
            error_set(err, ERR_PROTOCOL, "%s: what the server sent breaks the rules of HTTP/2, or is none", origin);
        else
            error_set(err, ERR_CLOSED, "%s ended the connection without a word of an answer", origin);
        break;
    case CURLE_HTTP2:
        error_set(err, ERR_CLOSED, "%s ended the HTTP/2 connection before it answered (GOAWAY)", origin);
        break;
    case CURLE_SEND_ERROR:
        error_set(err, ERR_CLOSED, "%s: %.300s", origin, text);
        break;
    case CURLE_RECV_ERROR:
        explain_received(origin, text, err);
        break;
    case CURLE_HTTP2_STREAM:
        explain_stream(origin, text, err);
        break;
    case CURLE_PARTIAL_FILE:
        error_set(err, ERR_CLOSED, "%s ended in the middle of its answer: %.200s", origin, text);
        break;
    case CURLE_URL_MALFORMAT:
        error_set(err, ERR_INVALID, "%.300s", text);
        break;
    case CURLE_UNSUPPORTED_PROTOCOL:
        error_set(err, ERR_PROTOCOL,
                  "%s does not speak HTTP: its answer has no status line (a TLS port wants https://)", origin);
        break;
    default:
        error_set(err, ERR_PROTOCOL, "%s: %.300s", origin, text);
    }
}
