#define ERR_STATE OPENSSL_ERR_STATE // a type of OpenSSL's; an error code of ours
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#undef ERR_STATE

#include "engine/run_cert.h"

#include <stdlib.h>
#include <string.h>

#define VALID_DAYS 30

static char *text_of(BIO *bio)
{
    char *bytes;
    long n = bio ? BIO_get_mem_data(bio, &bytes) : 0;
    char *text = n > 0 ? strndup(bytes, (size_t)n) : NULL;
    BIO_free(bio);
    return text;
}

static char *certificate_text(X509 *x)
{
    BIO *bio = BIO_new(BIO_s_mem());
    return bio && PEM_write_bio_X509(bio, x) ? text_of(bio) : (BIO_free(bio), NULL);
}

static char *key_text(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    return bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) ? text_of(bio) : (BIO_free(bio), NULL);
}

static int extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    int done = extension && X509_add_ext(x, extension, -1);
    X509_EXTENSION_free(extension);
    return done;
}

static int number(X509 *x)
{
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return 0;
    bytes[0] &= 0x7f;
    BIGNUM *n = BN_bin2bn(bytes, sizeof(bytes), NULL);
    int done = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;
    BN_free(n);
    return done;
}

// Without extensions and signature. issuer NULL: itself.
static X509 *begin(EVP_PKEY *key, const char *name, X509 *issuer, int64_t now_s)
{
    X509 *x = X509_new();
    if (!x)
        return NULL;
    X509_NAME *subject = X509_get_subject_name(x);
    if (X509_set_version(x, 2) && number(x) && ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(now_s - 3600)) &&
        ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(now_s + VALID_DAYS * 86400)) && X509_set_pubkey(x, key) &&
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0) &&
        X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : subject))
        return x;
    X509_free(x);
    return NULL;
}

static X509 *make_ca(EVP_PKEY *key, int64_t now_s)
{
    X509 *x = begin(key, "CA of an iotix run", NULL, now_s);
    if (x && extend(x, x, NID_basic_constraints, "critical,CA:TRUE") &&
        extend(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
        extend(x, x, NID_subject_key_identifier, "hash") && X509_sign(x, key, EVP_sha256()))
        return x;
    X509_free(x);
    return NULL;
}

static X509 *make_server(EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key, int64_t now_s)
{
    X509 *x = begin(key, "localhost", ca, now_s);
    if (x && extend(x, ca, NID_basic_constraints, "critical,CA:FALSE") &&
        extend(x, ca, NID_key_usage, "critical,digitalSignature") &&
        extend(x, ca, NID_ext_key_usage, "serverAuth,clientAuth") &&
        extend(x, ca, NID_authority_key_identifier, "keyid:always") &&
        extend(x, ca, NID_subject_alt_name, "DNS:localhost,DNS:embedded,IP:127.0.0.1,IP:::1") &&
        X509_sign(x, ca_key, EVP_sha256()))
        return x;
    X509_free(x);
    return NULL;
}

int run_cert_make(struct run_cert *c, int64_t now_wall_us, struct error *err)
{
    int64_t now_s = now_wall_us / 1000000;
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    X509 *ca = ca_key && key ? make_ca(ca_key, now_s) : NULL, *cert = ca ? make_server(key, ca, ca_key, now_s) : NULL;
    *c = (struct run_cert){0};
    if (cert) {
        c->ca = certificate_text(ca);
        c->cert = certificate_text(cert);
        c->key = key_text(key);
    }
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    ERR_clear_error();
    if (c->ca && c->cert && c->key)
        return 0;
    run_cert_destroy(c);
    return error_set(err, ERR_INTERNAL, "OpenSSL could not make a certificate for the embedded targets");
}

void run_cert_destroy(struct run_cert *c)
{
    if (c->key)
        explicit_bzero(c->key, strlen(c->key));
    free(c->ca);
    free(c->cert);
    free(c->key);
    *c = (struct run_cert){0};
}
