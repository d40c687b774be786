// Certificates of every kind for tests.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "link/openssl.h"

struct cert {
    X509 *x;
    EVP_PKEY *key;
    char *pem, *key_pem;
};

struct cert_spec {
    const char *cn, *san, *eku; // NULL: none
    bool ca;
    const struct cert *issuer; // NULL: self-signed
    long from_s, to_s;         // from now; 0, 0: an hour ago to a day ahead
};

static inline char *bio_text(BIO *bio)
{
    char *at;
    long n = BIO_get_mem_data(bio, &at);
    char *text = strndup(at, (size_t)n);
    BIO_free(bio);
    return text;
}

static inline void cert_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

static inline struct cert cert_make(struct cert_spec spec)
{
    struct cert c = {.x = X509_new(), .key = EVP_EC_gen("P-256")};
    X509_NAME *name = X509_get_subject_name(c.x);
    static long serial = 1;
    X509_set_version(c.x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x), serial++);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)spec.cn, -1, -1, 0);
    X509_set_issuer_name(c.x, spec.issuer ? X509_get_subject_name(spec.issuer->x) : name);
    X509_gmtime_adj(X509_getm_notBefore(c.x), spec.from_s ? spec.from_s : -3600);
    X509_gmtime_adj(X509_getm_notAfter(c.x), spec.to_s ? spec.to_s : 86400);
    X509_set_pubkey(c.x, c.key);
    X509 *issuer = spec.issuer ? spec.issuer->x : c.x;
    cert_ext(c.x, issuer, NID_basic_constraints, spec.ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    cert_ext(c.x, issuer, NID_subject_key_identifier, "hash");
    if (spec.san)
        cert_ext(c.x, issuer, NID_subject_alt_name, spec.san);
    if (spec.eku)
        cert_ext(c.x, issuer, NID_ext_key_usage, spec.eku);
    X509_sign(c.x, spec.issuer ? spec.issuer->key : c.key, EVP_sha256());
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, c.x);
    c.pem = bio_text(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, c.key, NULL, NULL, 0, NULL, NULL);
    c.key_pem = bio_text(bio);
    return c;
}

static inline void cert_free(struct cert *c)
{
    X509_free(c->x);
    EVP_PKEY_free(c->key);
    free(c->pem);
    free(c->key_pem);
    memset(c, 0, sizeof *c);
}
