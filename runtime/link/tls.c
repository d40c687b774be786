// TLS as a filter: OpenSSL sees no socket. One BIO is both ends of it: it reads from the bytes that the layer below has
// just handed up and writes straight to the layer below, so nothing is stored between the two but a record that has not
// arrived completely (OpenSSL keeps that).
//
// Memory at rest: SSL_MODE_RELEASE_BUFFERS gives the two record buffers (34 KB) back between records, the device's own
// certificate and key are dropped after the handshake (renegotiation is refused, nobody asks for them again).
#include "link/openssl.h"
#include "link/tls.h"
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include "link/tls_context.h"

#define SAMPLES 8u // connections of a transport whose memory is measured

enum tls_state { TLS_WAITING, TLS_HANDSHAKE, TLS_OPEN, TLS_ENDED };

struct tls {
    struct link_filter f;
    struct transport *transport;
    struct transport_memory *memory;
    SSL *ssl;
    const uint8_t *in; // what came from below and OpenSSL has not read yet
    size_t in_len;
    struct tls_psk *psk; // until the handshake is done
    struct error *why;   // of a failure that the link has not been told yet
    int64_t bytes;       // OpenSSL's, when sampled
    uint8_t state;       // enum tls_state
    bool sampled;        // `bytes` is counted
    bool offered;        // a session to resume
    bool answered;       // the server has sent something
};

static struct tls *tls_of(const struct link_filter *f)
{
    return container_of(f, struct tls, f);
}

// --- the BIO

static int bio_read(BIO *bio, char *to, int n)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (!t->in_len) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t k = (size_t)n < t->in_len ? (size_t)n : t->in_len;
    memcpy(to, t->in, k);
    t->in += k;
    t->in_len -= k;
    return (int)k;
}

// Kept until the link can be told; the first cause counts.
static void keep(struct tls *t, const struct error *why)
{
    if (!t->why && (t->why = malloc(sizeof *t->why)))
        *t->why = *why;
}

// Bytes the process has from malloc, as far as the C library tells.
static int64_t heap_bytes(void)
{
#ifdef __GLIBC__
    struct mallinfo2 m = mallinfo2();
    return (int64_t)(m.uordblks + m.hblkhd);
#else
    return 0;
#endif
}

static int bio_write(BIO *bio, const char *from, int n)
{
    struct tls *t = BIO_get_data(bio);
    struct error why;
    BIO_clear_retry_flags(bio);
    int64_t before = t->sampled ? heap_bytes() : 0;
    int rc = link_filter_down(&t->f, (const uint8_t *)from, (size_t)n, &why);
    if (t->sampled)
        t->bytes -= heap_bytes() - before; // of the link's buffers, not of OpenSSL
    if (rc == 0)
        return n;
    keep(t, &why);
    return -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

BIO_METHOD *tls_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "iotix link");
    if (m && BIO_meth_set_read(m, bio_read) && BIO_meth_set_write(m, bio_write) && BIO_meth_set_ctrl(m, bio_ctrl))
        return m;
    BIO_meth_free(m);
    return NULL;
}

// --- what the SSL_CTX calls

static struct tls *tls_of_ssl(const SSL *ssl)
{
    return BIO_get_data(SSL_get_rbio(ssl));
}

int tls_on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *t = tls_of_ssl(ssl);
    if (!t->f.link || !t->transport->tls->resume || !SSL_SESSION_is_resumable(session))
        return 0;
    SSL_SESSION_free(t->memory->session);
    t->memory->session = session;
    return 1; // the reference is ours
}

int tls_on_certificate(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *t = tls_of_ssl(ssl);
    struct error why;
    if (!ok) {
        tls_explain_certificate(t->transport->tls, X509_STORE_CTX_get_error(store),
                                X509_STORE_CTX_get_current_cert(store), &why);
        keep(t, &why);
    }
    return ok;
}

int tls_on_certificate_wanted(SSL *ssl, void *arg)
{
    struct tls *t = tls_of_ssl(ssl);
    struct error why;
    (void)arg;
    if (!t->f.link || !t->memory->minted || tls_credential_kept(t->transport->tls, ssl, t->memory, &why) == 0)
        return 1;
    keep(t, &why);
    return 0;
}

unsigned tls_on_psk(SSL *ssl, const char *hint, char *identity, unsigned max_identity, unsigned char *key,
                    unsigned max_key)
{
    const struct tls_psk *psk = tls_of_ssl(ssl)->psk;
    (void)hint;
    // TLS 1.2 counts the NUL in, TLS 1.3 does not say.
    if (!psk || psk->identity_len >= max_identity || psk->key_len > max_key)
        return 0;
    memcpy(identity, psk->identity, psk->identity_len + 1);
    memcpy(key, psk->key, psk->key_len);
    return psk->key_len;
}

// --- around every call that may allocate

static int64_t enter(const struct tls *t)
{
    ERR_clear_error(); // what other libraries of this thread left behind would be taken for ours
    return t->sampled ? heap_bytes() : 0;
}

static void leave(struct tls *t, int64_t before)
{
    if (!t->sampled)
        return;
    t->bytes += heap_bytes() - before;
    if (t->state == TLS_OPEN && t->bytes > 0)
        t->transport->tls_bytes = (size_t)t->bytes;
}

// TLS 1.3 makes both buffers when a ticket or a key update comes or goes, and keeps them. Between two records they can
// go.
static void trim(struct tls *t)
{
    if (SSL_rstate_string(t->ssl)[1] == 'H')
        (void)SSL_free_buffers(t->ssl);
}

// --- the filter

// The layer ends; the link is told through those above. why: NULL, then OpenSSL's first error.
static void fail(struct tls *t, const struct error *why)
{
    struct error explained;
    bool in_handshake = t->state == TLS_HANDSHAKE;
    t->state = TLS_ENDED;
    if (t->offered && in_handshake) { // maybe it was that: the next attempt starts afresh
        SSL_SESSION_free(t->memory->session);
        t->memory->session = NULL;
    }
    if (t->why) {
        explained = *t->why;
    } else if (why) {
        explained = *why;
    } else {
        tls_explain_failure(in_handshake, t->psk != NULL, &explained);
    }
    ERR_clear_error();
    link_filter_closed(&t->f, &explained);
}

static void handshake_done(struct tls *t)
{
    struct transport *tr = t->transport;
    struct metric *how = t->offered && SSL_session_reused(t->ssl) ? tr->tls_resumed : tr->tls_full;
    t->state = TLS_OPEN;
    tls_psk_delete(t->psk);
    t->psk = NULL;
    SSL_certs_clear(t->ssl);
    if (tr->tls_latency)
        trend_add(tr->tls_latency, loop_fresh_us(tr->loop) - t->f.link->opened_us);
    if (how)
        counter_add(how, 1);
}

static void handshake(struct tls *t)
{
    int64_t before = enter(t);
    int rc = SSL_do_handshake(t->ssl);
    int what = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, rc);
    if (what == SSL_ERROR_NONE)
        handshake_done(t);
    leave(t, before);
    if (what == SSL_ERROR_NONE)
        link_filter_opened(&t->f);
    else if (what != SSL_ERROR_WANT_READ)
        fail(t, NULL);
}

static void read_records(struct tls *t)
{
    uint8_t *to = t->transport->plain_in;
    while (t->f.link && t->state == TLS_OPEN) {
        size_t n = 0;
        int64_t before = enter(t);
        int rc = SSL_read_ex(t->ssl, to, SCRATCH_BYTES, &n);
        int what = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, rc);
        if (what == SSL_ERROR_WANT_READ)
            trim(t);
        leave(t, before);
        if (what == SSL_ERROR_NONE) {
            link_filter_up(&t->f, to, n);
        } else if (what == SSL_ERROR_ZERO_RETURN) {
            struct error why;
            error_set(&why, ERR_CLOSED, "closed by the peer (TLS close_notify)");
            (void)SSL_shutdown(t->ssl); // ours in return
            fail(t, &why);
        } else if (what == SSL_ERROR_WANT_READ) {
            return;
        } else {
            fail(t, NULL);
        }
    }
}

static void tls_up(struct link_filter *f, const uint8_t *bytes, size_t n)
{
    struct tls *t = tls_of(f);
    struct error why;
    if (t->state != TLS_HANDSHAKE && t->state != TLS_OPEN)
        return;
    // Alert or handshake: nothing else may come first.
    if (!t->answered && bytes[0] != SSL3_RT_ALERT && bytes[0] != SSL3_RT_HANDSHAKE) {
        tls_explain_garbage(bytes, n, &why);
        fail(t, &why);
        return;
    }
    t->answered = true;
    t->in = bytes;
    t->in_len = n;
    if (t->state == TLS_HANDSHAKE)
        handshake(t);
    read_records(t);
    t->in = NULL;
    t->in_len = 0;
}

static int tls_down(struct link_filter *f, const uint8_t *bytes, size_t n, struct error *err)
{
    struct tls *t = tls_of(f);
    struct error why;
    size_t written;
    if (t->state != TLS_OPEN)
        return error_set(err, ERR_STATE, "TLS is not open");
    if (!n)
        return 0;
    int64_t before = enter(t);
    int rc = SSL_write_ex(t->ssl, bytes, n, &written);
    if (rc == 1)
        trim(t);
    leave(t, before);
    if (rc == 1)
        return 0;
    t->state = TLS_ENDED;
    if (!t->why) {
        tls_explain_failure(false, false, &why);
        keep(t, &why);
    }
    if (err && t->why)
        *err = *t->why;
    return -1;
}

static void tls_opened(struct link_filter *f)
{
    struct tls *t = tls_of(f);
    t->state = TLS_HANDSHAKE;
    handshake(t);
}

static void tls_closed(struct link_filter *f, const struct error *why)
{
    struct tls *t = tls_of(f);
    struct error mine;
    const struct error *tell = t->why ? t->why : why;
    if (!t->why && t->state == TLS_HANDSHAKE && why->code == ERR_CLOSED) {
        error_set(&mine, ERR_TLS, "%s in the TLS handshake%s", why->text,
                  t->answered ? "" : ", without an answer: is this a TLS port?");
        tell = &mine;
    } else if (!t->why && t->state == TLS_OPEN && why->code == ERR_CLOSED) {
        error_set(&mine, ERR_CLOSED, "%s; no TLS close_notify came before that (cut off?)", why->text);
        tell = &mine;
    }
    t->state = TLS_ENDED;
    link_filter_closed(&t->f, tell);
}

static void tls_finish(struct link_filter *f)
{
    struct tls *t = tls_of(f);
    if (t->state != TLS_OPEN)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(t->ssl);
    t->state = TLS_ENDED;
}

static size_t tls_footprint(const struct link_filter *f)
{
    const struct tls *t = tls_of(f);
    size_t openssl = t->sampled && t->bytes > 0 ? (size_t)t->bytes : t->transport->tls_bytes;
    return sizeof *t + openssl + (t->psk ? sizeof *t->psk : 0);
}

static void tls_destroy(struct link_filter *f)
{
    struct tls *t = tls_of(f);
    if (t->ssl) {
        // Else OpenSSL would call the session bad: devices that vanish resume theirs all the same.
        SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(t->ssl);
    }
    tls_psk_delete(t->psk);
    free(t->why);
    transport_delete(t->transport);
    free(t);
}

static const struct link_filter_type tls_type = {
    .name = "tls",
    .down = tls_down,
    .up = tls_up,
    .opened = tls_opened,
    .closed = tls_closed,
    .finish = tls_finish,
    .footprint = tls_footprint,
    .destroy = tls_destroy,
};

struct link_filter *tls_filter_new(struct transport *t, struct transport_memory *memory, void *owner, struct error *err)
{
    struct tls *tls = calloc(1, sizeof *tls);
    BIO *bio = NULL;
    if (!tls) {
        error_set(err, ERR_NO_MEMORY, "no memory for a TLS connection");
        return NULL;
    }
    tls->f.type = &tls_type;
    tls->transport = transport_ref(t);
    tls->memory = memory;
    // The first ones pay for what OpenSSL and the transport make once.
    t->pushed++;
    if (t->pushed > 2 && t->sampled < SAMPLES) {
        tls->sampled = true;
        t->sampled++;
    }
    int64_t before = enter(tls);
    tls->ssl = tls_credential_ssl(t->tls, memory, owner, &tls->psk, err);
    if (tls->ssl && !(bio = BIO_new(t->tls->bio))) {
        SSL_free(tls->ssl);
        tls->ssl = NULL;
        error_set(err, ERR_NO_MEMORY, "no memory for a TLS connection");
    }
    if (!tls->ssl) {
        tls_destroy(&tls->f);
        return NULL;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_connect_state(tls->ssl);
    // RFC 6066, 3: names only, no addresses. Without memory the handshake fails soon enough.
    if (!t->tls->name_is_ip)
        (void)SSL_set_tlsext_host_name(tls->ssl, t->tls->server_name);
    if (memory->session && SSL_SESSION_is_resumable(memory->session))
        tls->offered = SSL_set_session(tls->ssl, memory->session) == 1;
    leave(tls, before);
    return &tls->f;
}
