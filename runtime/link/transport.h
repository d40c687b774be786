// What lies between a link's socket and its adapter: TLS, WebSocket, or both, as filters. A target has one transport;
// every connection gets its own filters from it before link_open.
//
//   adapter ── [websocket] ── [tls] ── (faults) ── socket
//
// Handshakes are non-blocking and end in on_open or on_close of the link; no timeout of their own: the adapter has the
// deadline for the whole. Errors of certificates are ERR_TLS with OpenSSL's words and what to do (unknown CA: name the
// option; wrong host: which names the certificate has; expired: since when).
#pragma once
#include <jansson.h>
#include "link/link.h"
#include "metrics/metrics.h"

struct transport;

enum transport_credential {
    TRANSPORT_CERT, // PEM text, or the path of a PEM file; with the chain
    TRANSPORT_KEY,  // the same
    TRANSPORT_NAME, // common name of the certificate to be minted
    TRANSPORT_PSK_IDENTITY,
    TRANSPORT_PSK_KEY // hex digits
};

struct transport_config {
    struct loop *loop;
    bool tls, websocket;
    const char *host; // of the URL: SNI and verification, Host of the upgrade
    uint16_t port;
    const char *path;        // websocket: "" is "/mqtt"; a query belongs to it
    const char *subprotocol; // websocket: "mqtt"
    const char *const *alpn; // default when the options have none; NULL-terminated, may be NULL
    // Options `tls`, all optional; unknown keys are errors naming the valid ones:
    //   ca            path of a PEM file or directory, or PEM text; default: the system's
    //   verify        true | false (default true)
    //   serverName    in place of host, for SNI and verification
    //   alpn          list of strings
    //   minVersion    "1.2" (default) | "1.3";  maxVersion "1.2" | "1.3"
    //   ciphers       TLS 1.2 list of OpenSSL;  ciphersuites: TLS 1.3
    //   resume        true: sessions are resumed at reconnects of the same connection (default true)
    //   mint          { ca, caKey: PEM path or text; days 30; algorithm "EC" | "RSA"; subject "O=…" } a certificate for
    //                 each connection, signed by that CA, with the common name of TRANSPORT_NAME
    //   The certificate and key (or PSK) of a connection come from `credential` below.
    const json_t *tls_options;
    // Options `websocket`: headers { NAME: value }, maxFrame bytes (default 1 MB), path
    const json_t *ws_options;
    // Appends a credential of a connection; nothing appended: it has none. owner: of transport_push.
    int (*credential)(void *owner, enum transport_credential what, struct buf *out, struct error *err);
    // Metrics, may be NULL each.
    struct metric *tls_latency; // trend, us: TCP established to handshake done
    struct metric *tls_resumed; // counter: handshakes that resumed a session
    struct metric *tls_full;    // counter: full handshakes
};
// NULL: bad options, a file that cannot be read or is no PEM, a CA key that does not belong to the CA.
struct transport *transport_new(const struct transport_config *config, struct error *err);
// At any time: what the filters of open links need of it stays until the last of them is gone. NULL is fine.
void transport_delete(struct transport *t);

// What a connection keeps between its links: the TLS session to resume, the minted certificate. Zeroed is empty.
struct transport_memory {
    void *session, *minted;
};
void transport_forget(struct transport_memory *memory);
size_t transport_memory_footprint(const struct transport_memory *memory);
// Pushes the filters for one connection onto a link that is about to be opened; they go when it closes or cannot be
// opened. memory outlives the link. -1: a credential that cannot be used (ERR_INVALID, ERR_NOT_FOUND for a file, or
// what `credential` said); nothing was pushed.
int transport_push(struct transport *t, struct link *link, struct transport_memory *memory, void *owner,
                   struct error *err) WARN_UNUSED_RESULT;
// User-space bytes of the filters on that link, which link_footprint counts too. OpenSSL's are measured around its
// calls on a transport's third to tenth connection; those stand for the others.
size_t transport_footprint(const struct link *link);

// Whether a certificate (with its chain) and its key, each PEM text or the path of a PEM file, can be read and belong
// together: what connections would find out one by one.
int transport_check_pair(const char *cert, const char *key, struct error *err) WARN_UNUSED_RESULT;

// For a library that brings a handshake of its own (libcoap): sets up its SSL, before the handshake, as one of this
// transport's: trust, verification, server name, certificate and key (or nothing for a pre-shared key), ciphers.
// on_certificate: OpenSSL's verify callback, see transport_explain.
struct ssl_st;
struct x509_st;
struct x509_store_ctx_st;
int transport_equip(struct transport *t, struct ssl_st *ssl, struct transport_memory *memory, void *owner,
                    int (*on_certificate)(int ok, struct x509_store_ctx_st *store),
                    struct error *err) WARN_UNUSED_RESULT;
// The same for the side of a server: the connection's certificate and key. Clients have to show one that the CA of the
// options has signed, where the options name a CA and do not say verify = false; else none is asked for.
int transport_equip_server(struct transport *t, struct ssl_st *ssl, struct transport_memory *memory, void *owner,
                           struct error *err) WARN_UNUSED_RESULT;
// A certificate was not accepted (X509_V_ERR_*): why, and what to do.
void transport_explain(const struct transport *t, int verify_error, struct x509_st *cert, struct error *err);
// The server ended the handshake with this alert (RFC 8446, 6).
void transport_explain_alert(int alert, struct error *err);
// What the server said first is no TLS: its first bytes (5 will do).
void transport_explain_answer(const uint8_t *bytes, size_t n, struct error *err);
