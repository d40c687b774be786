// What went wrong, in words a person can act on.
#include <errno.h>
#include <string.h>
#include "adapter/http/exchange.h"

static bool is_tls(CURLcode rc)
{
    return rc == CURLE_SSL_CONNECT_ERROR || rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CERTPROBLEM ||
           rc == CURLE_SSL_CIPHER || rc == CURLE_SSL_CACERT_BADFILE || rc == CURLE_SSL_ISSUER_ERROR ||
           rc == CURLE_SSL_INVALIDCERTSTATUS || rc == CURLE_SSL_CLIENTCERT || rc == CURLE_SSL_ENGINE_INITFAILED;
}

void http_explain(const struct http_exchange *x, CURLcode rc, struct error *err)
{
    const struct http_target *t = x->conn->target;
    const char *text = x->curl_error[0] ? x->curl_error : curl_easy_strerror(rc);
    long os_errno = 0;
    if (is_tls(rc)) {
        error_set(err, ERR_TLS, "%s: %.300s", t->origin, text); // certificates are explained by tls.c
        return;
    }
    switch (rc) {
    case CURLE_COULDNT_CONNECT:
        curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &os_errno);
        errno = (int)os_errno ? (int)os_errno : ECONNREFUSED;
        error_set_errno(err, "%s", x->foreign ? "the redirect's server" : t->origin);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        error_set(err, ERR_TIMEOUT, "%s: %.300s", t->origin,
                  x->connected || !x->connect_us ? text : "not connected in time");
        break;
    case CURLE_OUT_OF_MEMORY:
        error_set(err, ERR_NO_MEMORY, "no memory for a transfer");
        break;
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
        error_set(err, ERR_CLOSED, "%s: %.300s", t->origin, text);
        break;
    case CURLE_RECV_ERROR: // also what breaks the framing of a body
        curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &os_errno);
        error_set(err,
                  strstr(text, "hunk")           ? ERR_PROTOCOL
                  : strstr(text, "SSL routines") ? ERR_TLS
                                                 : ERR_CLOSED,
                  "%s: %.300s", t->origin, text);
        break;
    case CURLE_PARTIAL_FILE:
        error_set(err, ERR_CLOSED, "%s ended in the middle of its answer: %.200s", t->origin, text);
        break;
    case CURLE_URL_MALFORMAT:
        error_set(err, ERR_INVALID, "%.300s", text);
        break;
    case CURLE_UNSUPPORTED_PROTOCOL: // HTTP/0.9: an answer without a status line
    default:
        error_set(err, ERR_PROTOCOL, "%s: %.300s", t->origin, text);
    }
}
