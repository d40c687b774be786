// OpenSSL's errors in words a person can act on.
#include <ctype.h>
#include <string.h>
#include <arpa/inet.h>
#include "link/openssl.h"
#include "link/tls_context.h"

const char *tls_words(char *dst, size_t size)
{
    unsigned long e = ERR_peek_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    snprintf(dst, size, "%s", reason ? reason : "no reason given");
    ERR_clear_error();
    return dst;
}

// --- certificates

// "CN=…" or whatever the subject has, one line.
static void name_text(const X509_NAME *name, char *dst, int size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int n = 0;
    if (bio && name && X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE & ~(unsigned long)XN_FLAG_SPC_EQ) >= 0)
        n = BIO_read(bio, dst, size - 1);
    BIO_free(bio);
    dst[n > 0 ? n : 0] = '\0';
}

static void time_text(const ASN1_TIME *time, char *dst, size_t size)
{
    struct tm tm;
    if (!time || !ASN1_TIME_to_tm(time, &tm) || !strftime(dst, size, "%Y-%m-%d %H:%M:%S UTC", &tm))
        memcpy(dst, "?", 2);
}

static int append_name(struct buf *out, const GENERAL_NAME *name)
{
    char text[INET6_ADDRSTRLEN];
    const ASN1_STRING *s = name->d.ia5;
    if (name->type != GEN_DNS && name->type != GEN_IPADD)
        return 0;
    if (out->len && buf_append_str(out, ", ") < 0)
        return -1;
    if (name->type == GEN_DNS)
        return buf_printf(out, "%.*s", s->length, (const char *)s->data);
    s = name->d.iPAddress;
    if (!inet_ntop(s->length == 4 ? AF_INET : AF_INET6, s->data, text, sizeof text))
        return 0;
    return buf_append_str(out, text);
}

// The names a certificate is good for, cut at the cap of out; without any its common name, which counts then.
static const char *names_text(X509 *cert, struct buf *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    char cn[128];
    bool cut = false;
    for (int i = 0; !cut && i < sk_GENERAL_NAME_num(names); i++)
        cut = append_name(out, sk_GENERAL_NAME_value(names, i)) < 0;
    GENERAL_NAMES_free(names);
    if (out->len)
        return buf_cstr(out);
    int n = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof cn);
    return buf_append_str(out, n > 0 ? cn : "no name") == 0 ? buf_cstr(out) : "?";
}

static void explain_host(const struct tls_context *c, X509 *cert, struct error *err)
{
    struct buf names;
    buf_create(&names, 240);
    error_set(
        err, ERR_TLS,
        "the server's certificate is for %s, not for %s: connect to a name that it has, or give one in tls.server_name",
        names_text(cert, &names), c->server_name);
    buf_destroy(&names);
}

void tls_explain_certificate(const struct tls_context *c, int verify_error, X509 *cert, struct error *err)
{
    char subject[160] = "?", issuer[160] = "?", when[40];
    if (cert) {
        name_text(X509_get_subject_name(cert), subject, sizeof subject);
        name_text(X509_get_issuer_name(cert), issuer, sizeof issuer);
    }
    switch (verify_error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        time_text(cert ? X509_get0_notAfter(cert) : NULL, when, sizeof when);
        error_set(err, ERR_TLS, "the certificate \"%s\" of the server has expired: it was valid until %s", subject,
                  when);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        time_text(cert ? X509_get0_notBefore(cert) : NULL, when, sizeof when);
        error_set(
            err, ERR_TLS,
            "the certificate \"%s\" of the server is not valid yet: it begins at %s (is this machine's clock right?)",
            subject, when);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        explain_host(c, cert, err);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        error_set(err, ERR_TLS, "the server's certificate \"%s\" is self-signed and not trusted: give it in tls.ca",
                  subject);
        break;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        error_set(err, ERR_TLS, "the server's certificate comes from the unknown CA \"%s\": give that one in tls.ca",
                  subject);
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        error_set(err, ERR_TLS,
                  "the certificate \"%s\" of the server comes from the unknown CA \"%s\": give that one in "
                  "tls.ca (or the server has to send the certificates between)",
                  subject, issuer);
        break;
    case X509_V_ERR_INVALID_PURPOSE:
        error_set(
            err, ERR_TLS,
            "the certificate \"%s\" of the server is not made for servers (its extended key usage lacks serverAuth)",
            subject);
        break;
    case X509_V_ERR_INVALID_CA:
        error_set(err, ERR_TLS, "\"%s\", which signed the server's certificate, is no CA", subject);
        break;
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
    case X509_V_ERR_CA_MD_TOO_WEAK:
        error_set(err, ERR_TLS,
                  "the certificate \"%s\" of the server is too weak (%s): tls.ciphers "
                  "\"DEFAULT@SECLEVEL=1\" or 0 allows it",
                  subject, X509_verify_cert_error_string(verify_error));
        break;
    default:
        error_set(err, ERR_TLS, "the certificate \"%s\" of the server is not accepted: %s", subject,
                  X509_verify_cert_error_string(verify_error));
    }
}

// --- alerts and the rest

static const char *alert_hint(int alert, bool psk)
{
    switch (alert) {
    case SSL_AD_CERTIFICATE_REQUIRED:
        return "it asks for a certificate of the device: tls.cert and tls.key, or tls.mint";
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
        return "it does not accept the device's certificate";
    case SSL_AD_HANDSHAKE_FAILURE:
        return psk ? "no cipher in common, or it does not know the pre-shared key"
                   : "no cipher in common, or it asks for a certificate of the device";
    case SSL_AD_PROTOCOL_VERSION:
        return "no TLS version in common: tls.min_version, tls.max_version";
    case SSL_AD_UNRECOGNIZED_NAME:
        return "it does not know the name that was asked for: tls.server_name";
    case SSL_AD_UNKNOWN_PSK_IDENTITY:
        return "it does not know the identity of the pre-shared key";
    case SSL_AD_DECRYPT_ERROR:
    case SSL_AD_BAD_RECORD_MAC:
    case SSL_AD_ILLEGAL_PARAMETER:
        return psk ? "is it the right pre-shared key?" : NULL;
    case SSL_AD_NO_APPLICATION_PROTOCOL:
        return "it knows none of the protocols in tls.alpn";
    default:
        return NULL;
    }
}

static const char *reason_hint(int reason)
{
    switch (reason) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
    case SSL_R_WRONG_SSL_VERSION:
        return "no TLS version in common: tls.min_version, tls.max_version";
    case SSL_R_DH_KEY_TOO_SMALL:
        return "tls.ciphers \"DEFAULT@SECLEVEL=1\" or 0 allows it";
    case SSL_R_WRONG_VERSION_NUMBER:
        return "is this a TLS port?";
    default:
        return NULL;
    }
}

static void explain_alert(const char *where, int alert, bool psk, struct error *err)
{
    const char *hint = alert_hint(alert, psk);
    error_set(err, ERR_TLS, "%s: the server refused with alert \"%s\"%s%s", where, SSL_alert_desc_string_long(alert),
              hint ? ": " : "", hint ? hint : "");
}

void transport_explain_alert(int alert, struct error *err)
{
    explain_alert("TLS handshake", alert & 0xff, false, err);
}

void tls_explain_failure(bool in_handshake, bool psk, struct error *err)
{
    unsigned long e = ERR_peek_error();
    int reason = ERR_GET_REASON(e), alert = reason - SSL_AD_REASON_OFFSET;
    const char *where = in_handshake ? "TLS handshake" : "TLS", *hint;
    char words[200];
    if (e && ERR_GET_LIB(e) == ERR_LIB_SSL && alert > 0 && alert < 256) {
        explain_alert(where, alert, psk, err);
        ERR_clear_error();
        return;
    }
    hint = e && ERR_GET_LIB(e) == ERR_LIB_SSL ? reason_hint(reason) : NULL;
    error_set(err, ERR_TLS, "%s: %s%s%s", where, tls_words(words, sizeof words), hint ? ": " : "", hint ? hint : "");
}

void tls_explain_garbage(const uint8_t *bytes, size_t n, struct error *err)
{
    size_t text = 0;
    while (text < n && text < 60 && (isprint(bytes[text]) || bytes[text] == '\t'))
        text++;
    if (text >= 5 && memcmp(bytes, "HTTP/", 5) == 0)
        error_set(err, ERR_TLS, "expected TLS, got plain HTTP (\"%.*s\"): the port has no TLS, or needs another scheme",
                  (int)text, (const char *)bytes);
    else if (n >= 2 && bytes[0] == 0x20 && bytes[1] <= 64)
        error_set(err, ERR_TLS, "expected TLS, got a plain MQTT CONNACK: the port has no TLS");
    else if (text >= 4 || (text && text == n))
        error_set(err, ERR_TLS, "expected TLS, got the text \"%.*s\": the port has no TLS", (int)text,
                  (const char *)bytes);
    else
        error_set(err, ERR_TLS, "expected TLS, got bytes that are none (%02x %02x %02x …): the port has no TLS",
                  bytes[0], n > 1 ? bytes[1] : 0, n > 2 ? bytes[2] : 0);
}
