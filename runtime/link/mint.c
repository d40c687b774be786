// OpenSSL 3 reads a private key back through its decoders, 170 us; made from its numbers it takes 26 (bench_tls).
#include "link/mint.h"
#include <stdlib.h>
#include <string.h>
#include "core/jsonx.h"
#include "core/units.h"
#include "link/openssl.h"

#define NAME_MAX_BYTES 64u // ub-common-name, RFC 5280
#define DAYS_DEFAULT 30
#define DAYS_MAX 36500
#define RSA_BITS 2048u
#define EARLY_S 3600 // clocks differ
#define EC_GROUP_NAME "P-256"
#define EC_PRIVATE 32u
#define EC_PUBLIC 65u // an uncompressed point

struct mint {
    X509 *ca;
    EVP_PKEY *ca_key;
    STACK_OF(X509) * chain; // sent behind the device's certificate: what is no root
    X509_NAME *subject;     // without the common name
    EVP_PKEY *shared_key;   // RSA: of all; EC: NULL
    EVP_PKEY_CTX *maker;    // of EC keys
    const EVP_MD *digest;   // NULL: the CA's algorithm has its own (Ed25519)
    X509_EXTENSION *extensions[4];
    int64_t valid_s;
};

struct minted {
    int64_t until_s; // wall time
    uint32_t name_len, cert_len, key_len;
    uint8_t bytes[]; // name, certificate (DER), key: EC_PRIVATE native-endian and EC_PUBLIC (none: the mint's own)
};

static int ssl_error(struct error *err, const char *what)
{
    char words[200];
    return error_set(err, ERR_TLS, "tls.mint: %s: %s", what, tls_words(words, sizeof words));
}

// --- options

static int load_ca(struct mint *m, const char *ca, const char *ca_key, struct error *err)
{
    struct buf text;
    STACK_OF(X509) *all = NULL;
    char shown[300];
    buf_create(&text, TLS_CREDENTIAL_MAX);
    tls_shown(ca, strlen(ca), "tls.mint.ca", shown, sizeof shown);
    int rc = tls_pem_text(ca, strlen(ca), "tls.mint.ca", TLS_CREDENTIAL_MAX, &text, err);
    if (rc == 0)
        rc = tls_pem_certificates((const char *)text.data, text.len, shown, &all, err);
    if (rc == 0)
        rc = tls_no_certificate((const char *)text.data, text.len, shown, err);
    if (rc > 0) {
        m->ca = sk_X509_value(all, 0);
        X509_up_ref(m->ca);
        buf_clear(&text);
        rc = tls_pem_text(ca_key, strlen(ca_key), "tls.mint.caKey", TLS_CREDENTIAL_MAX, &text, err);
    }
    if (rc == 0) {
        tls_shown(ca_key, strlen(ca_key), "tls.mint.caKey", shown, sizeof shown);
        m->ca_key = tls_pem_key((const char *)text.data, text.len, shown, err);
    }
    OPENSSL_cleanse(text.data, text.size);
    buf_destroy(&text);
    if (m->ca_key)
        m->chain = sk_X509_new_null();
    for (int i = 0; m->chain && i < sk_X509_num(all); i++) {
        X509 *x = sk_X509_value(all, i);
        if (X509_self_signed(x, 0) != 1 && X509_up_ref(x) && !sk_X509_push(m->chain, x))
            X509_free(x);
    }
    sk_X509_pop_free(all, X509_free);
    return m->chain ? 0 : -1;
}

static int check_ca(struct mint *m, struct error *err)
{
    char words[200];
    if (X509_check_ca(m->ca) == 0)
        return error_set(err, ERR_INVALID, "tls.mint.ca: the certificate is no CA (basic constraints lack CA:TRUE)");
    if (!X509_check_private_key(m->ca, m->ca_key))
        return error_set(err, ERR_INVALID, "tls.mint.caKey: the key does not belong to the CA's certificate (%s)",
                         tls_words(words, sizeof words));
    int id = EVP_PKEY_get_id(m->ca_key);
    m->digest = id == EVP_PKEY_ED25519 || id == EVP_PKEY_ED448 ? NULL : EVP_sha256();
    return 0;
}

// "O=Example, OU=Sensors" → a name.
static int parse_subject(struct mint *m, const char *text, struct error *err)
{
    char copy[512], *rest = copy, *part;
    size_t n = strlen(text);
    if (!(m->subject = X509_NAME_new()))
        return ssl_error(err, "subject");
    if (n >= sizeof copy)
        return error_set(err, ERR_INVALID, "tls.mint.subject: longer than %zu bytes", sizeof copy - 1);
    memcpy(copy, text, n + 1);
    while ((part = strsep(&rest, ",")) != NULL) {
        part += strspn(part, " ");
        char *value = strchr(part, '=');
        if (!*part)
            continue;
        if (value)
            *value++ = '\0';
        if (value && strcmp(part, "CN") == 0)
            return error_set(err, ERR_INVALID, "tls.mint.subject: CN is the name of each device");
        if (!value || !*value ||
            !X509_NAME_add_entry_by_txt(m->subject, part, MBSTRING_UTF8, (const uint8_t *)value, -1, -1, 0)) {
            ERR_clear_error();
            return error_set(
                err, ERR_INVALID,
                "tls.mint.subject: \"%s\" is no part of a name; expected such as \"O=Example, OU=Sensors\"", part);
        }
    }
    return 0;
}

static int make_extensions(struct mint *m, struct error *err)
{
    static const struct {
        int nid;
        const char *value;
    } wanted[] = {
        {NID_basic_constraints, "critical,CA:FALSE"},
        {NID_key_usage, "critical,digitalSignature"},
        {NID_ext_key_usage, "clientAuth,serverAuth"},
        {NID_authority_key_identifier, "keyid"},
    };
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, m->ca, NULL, NULL, NULL, 0);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        m->extensions[i] = X509V3_EXT_conf_nid(NULL, &ctx, wanted[i].nid, wanted[i].value);
        // A CA without a key identifier gives none to refer to.
        if (!m->extensions[i] && wanted[i].nid != NID_authority_key_identifier)
            return ssl_error(err, "extensions");
    }
    ERR_clear_error();
    return 0;
}

static int from_options(struct mint *m, const json_t *options, struct error *err)
{
    static const char *const keys[] = {"ca", "caKey", "days", "algorithm", "subject", NULL};
    static const char *const algorithms[] = {"EC", "RSA", NULL};
    const char *ca, *ca_key, *algorithm, *subject;
    int64_t days;
    if (!json_is_object(options))
        return transport_expected("tls.mint", "an object with ca and caKey", options, err);
    if (transport_check_keys(options, "tls.mint.", keys, err) < 0)
        return -1;
    if (json_get_str(options, "ca", NULL, &ca, err) < 0 || json_get_str(options, "caKey", NULL, &ca_key, err) < 0 ||
        json_get_str(options, "algorithm", "EC", &algorithm, err) < 0 ||
        json_get_str(options, "subject", "O=iotix", &subject, err) < 0 ||
        json_get_int(options, "days", DAYS_DEFAULT, &days, err) < 0)
        return error_prefix(err, "tls.mint");
    if (!ca || !ca_key)
        return error_set(err, ERR_INVALID, "tls.mint: %s is missing: a path or PEM text", ca ? "caKey" : "ca");
    if (days < 1 || days > DAYS_MAX)
        return error_set(err, ERR_INVALID, "tls.mint.days: expected 1 to %d", DAYS_MAX);
    int choice = name_choose("tls.mint.algorithm", algorithm, algorithms, err);
    if (choice < 0)
        return -1;
    m->valid_s = days * 86400;
    if (load_ca(m, ca, ca_key, err) < 0 || check_ca(m, err) < 0 || parse_subject(m, subject, err) < 0 ||
        make_extensions(m, err) < 0)
        return -1;
    if (choice == 1)
        return (m->shared_key = EVP_RSA_gen(RSA_BITS)) ? 0 : ssl_error(err, "RSA key");
    m->maker = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (!m->maker || EVP_PKEY_keygen_init(m->maker) != 1 || EVP_PKEY_CTX_set_group_name(m->maker, EC_GROUP_NAME) != 1)
        return ssl_error(err, "EC keys");
    return 0;
}

struct mint *mint_new(const json_t *options, struct error *err)
{
    struct mint *m = calloc(1, sizeof *m);
    if (!m) {
        error_set(err, ERR_NO_MEMORY, "no memory for a mint");
        return NULL;
    }
    if (from_options(m, options, err) == 0)
        return m;
    mint_delete(m);
    return NULL;
}

void mint_delete(struct mint *m)
{
    if (!m)
        return;
    X509_free(m->ca);
    EVP_PKEY_free(m->ca_key);
    sk_X509_pop_free(m->chain, X509_free);
    X509_NAME_free(m->subject);
    EVP_PKEY_free(m->shared_key);
    EVP_PKEY_CTX_free(m->maker);
    for (size_t i = 0; i < sizeof m->extensions / sizeof *m->extensions; i++)
        X509_EXTENSION_free(m->extensions[i]);
    free(m);
}

// --- making one

static X509_NAME *subject_of(const struct mint *m, const char *name, size_t n)
{
    X509_NAME *subject = X509_NAME_dup(m->subject);
    if (subject &&
        X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, (const uint8_t *)name, (int)n, -1, 0))
        return subject;
    X509_NAME_free(subject);
    return NULL;
}

static bool set_serial(X509 *cert)
{
    uint8_t bytes[16];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] = (uint8_t)((bytes[0] & 0x3f) | 0x40); // positive, and always 16 bytes
    BIGNUM *serial = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool ok = serial && BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert));
    BN_free(serial);
    return ok;
}

static X509 *signed_certificate(struct mint *m, EVP_PKEY *key, const char *name, size_t n, int64_t now_s)
{
    X509 *cert = X509_new();
    X509_NAME *subject = subject_of(m, name, n);
    bool ok = cert && subject && X509_set_version(cert, X509_VERSION_3) && set_serial(cert) &&
              X509_set_subject_name(cert, subject) && X509_set_issuer_name(cert, X509_get_subject_name(m->ca)) &&
              ASN1_TIME_set(X509_getm_notBefore(cert), now_s - EARLY_S) &&
              ASN1_TIME_set(X509_getm_notAfter(cert), now_s + m->valid_s) && X509_set_pubkey(cert, key);
    for (size_t i = 0; ok && i < sizeof m->extensions / sizeof *m->extensions; i++)
        ok = !m->extensions[i] || X509_add_ext(cert, m->extensions[i], -1);
    ok = ok && X509_sign(cert, m->ca_key, m->digest) > 0;
    X509_NAME_free(subject);
    if (ok)
        return cert;
    X509_free(cert);
    return NULL;
}

// The numbers of an EC key, and a key from them.
static bool key_out(EVP_PKEY *key, uint8_t *to)
{
    BIGNUM *secret = NULL;
    size_t n = 0;
    bool ok = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &secret) &&
              BN_bn2nativepad(secret, to, EC_PRIVATE) == EC_PRIVATE &&
              EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, to + EC_PRIVATE, EC_PUBLIC, &n) &&
              n == EC_PUBLIC;
    BN_clear_free(secret);
    return ok;
}

static EVP_PKEY *key_in(const uint8_t *from)
{
    char group[] = EC_GROUP_NAME;
    // The parameters are only read, though their type says otherwise.
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, (uint8_t *)from, EC_PRIVATE),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (uint8_t *)from + EC_PRIVATE, EC_PUBLIC),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static struct minted *keep_of(const struct mint *m, const struct tls_pair *pair, const char *name, size_t n,
                              int64_t until_s)
{
    uint8_t *cert = NULL;
    int cert_len = i2d_X509(pair->cert, &cert);
    uint32_t key_len = m->shared_key ? 0 : EC_PRIVATE + EC_PUBLIC;
    struct minted *kept = NULL;
    if (cert_len > 0)
        kept = malloc(sizeof *kept + n + (size_t)cert_len + key_len);
    if (kept) {
        kept->until_s = until_s;
        kept->name_len = (uint32_t)n;
        kept->cert_len = (uint32_t)cert_len;
        kept->key_len = key_len;
        memcpy(kept->bytes, name, n);
        memcpy(kept->bytes + n, cert, (size_t)cert_len);
        if (key_len && !key_out(pair->key, kept->bytes + n + cert_len)) {
            free(kept);
            kept = NULL;
        }
    }
    OPENSSL_free(cert);
    return kept;
}

static STACK_OF(X509) * chain_of(const struct mint *m)
{
    return sk_X509_num(m->chain) ? X509_chain_up_ref(m->chain) : NULL;
}

int mint_make(struct mint *m, const char *name, size_t n, int64_t now_wall_us, struct tls_pair *pair,
              struct minted **keep, struct error *err)
{
    int64_t now_s = now_wall_us / 1000000;
    memset(pair, 0, sizeof *pair);
    if (!n || n > NAME_MAX_BYTES)
        return error_set(err, ERR_INVALID, "tls.mint: the name of a certificate has 1 to %u bytes, \"%.*s\" has %zu",
                         NAME_MAX_BYTES, n > 80 ? 80 : (int)n, name, n);
    if (m->shared_key && EVP_PKEY_up_ref(m->shared_key))
        pair->key = m->shared_key;
    else if (EVP_PKEY_generate(m->maker, &pair->key) != 1)
        pair->key = NULL;
    pair->cert = pair->key ? signed_certificate(m, pair->key, name, n, now_s) : NULL;
    pair->chain = chain_of(m);
    *keep = pair->cert ? keep_of(m, pair, name, n, now_s + m->valid_s) : NULL;
    if (*keep)
        return 0;
    tls_pair_clear(pair);
    return ssl_error(err, "cannot make a certificate");
}

bool minted_fits(const struct minted *kept, const char *name, size_t n, int64_t now_wall_us)
{
    return kept && kept->name_len == n && memcmp(kept->bytes, name, n) == 0 && now_wall_us / 1000000 < kept->until_s;
}

int mint_again(struct mint *m, const struct minted *kept, struct tls_pair *pair, struct error *err)
{
    const uint8_t *at = kept->bytes + kept->name_len;
    memset(pair, 0, sizeof *pair);
    pair->cert = d2i_X509(NULL, &at, kept->cert_len);
    if (m->shared_key && EVP_PKEY_up_ref(m->shared_key))
        pair->key = m->shared_key;
    else
        pair->key = key_in(kept->bytes + kept->name_len + kept->cert_len);
    pair->chain = chain_of(m);
    if (pair->cert && pair->key)
        return 0;
    tls_pair_clear(pair);
    return ssl_error(err, "cannot read a certificate back");
}

size_t minted_footprint(const struct minted *kept)
{
    return kept ? sizeof *kept + kept->name_len + kept->cert_len + kept->key_len : 0;
}
