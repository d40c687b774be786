// OpenSSL 3 does the cryptography. A key that is no key must never make OpenSSL ask for a passphrase on the terminal,
// and no text of it may get into an error.
#define ERR_STATE OPENSSL_ERR_STATE // a type of OpenSSL's; an error code of ours
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#undef ERR_STATE

#include "adapter/jwt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "core/file.h"
#include "core/jsonx.h"
#include "core/units.h"

#define KEY_MAX (64u << 10)
#define SIGNATURE_MAX 2048u // RSA of 16,384 bits
#define TOKEN_MAX (64u << 10)

enum algorithm { HS256, RS256, ES256 };
static const char *const algorithms[] = {"HS256", "RS256", "ES256", NULL};

struct jwt_key {
    enum algorithm algorithm;
    EVP_PKEY *pkey; // not of HS256
    uint8_t *secret;
    size_t secret_len;
};

// --- keys

static int no_passphrase(char *dst, int size, int writing, void *asked)
{
    (void)dst, (void)size, (void)writing;
    *(bool *)asked = true;
    return -1;
}

static int decode_secret(struct jwt_key *key, const char *text, struct error *err)
{
    size_t n = strlen(text);
    key->secret = n && n <= KEY_MAX && n % 4 == 0 ? malloc(n) : NULL;
    int got = key->secret ? EVP_DecodeBlock(key->secret, (const unsigned char *)text, (int)n) : -1;
    if (got < 0)
        return error_set(err, ERR_INVALID, "what follows base64: is not base64 (with its padding)");
    size_t padding = (size_t)(text[n - 1] == '=') + (size_t)(n > 1 && text[n - 2] == '=');
    key->secret_len = (size_t)got - padding;
    return 0;
}

static int take_secret(struct jwt_key *key, const char *text, struct error *err)
{
    if (strncmp(text, "base64:", 7) == 0)
        return decode_secret(key, text + 7, err);
    if (strstr(text, "-----BEGIN"))
        return error_set(err, ERR_INVALID, "HS256 takes a secret, this is PEM: RS256 and ES256 take a private key");
    key->secret_len = strlen(text);
    key->secret = key->secret_len ? malloc(key->secret_len) : NULL;
    if (!key->secret)
        return error_set(err, ERR_INVALID, "the secret is empty");
    memcpy(key->secret, text, key->secret_len);
    return 0;
}

static int read_pem(const char *text, struct buf *file, const char **pem, struct error *err)
{
    struct error why = {0};
    struct stat st;
    *pem = text;
    if (strstr(text, "-----BEGIN"))
        return 0;
    if (file_read(text, KEY_MAX, file, &why)) // its text has the path, which may be a key that was put in its place
        return error_set(err, why.code == ERR_NOT_FOUND ? ERR_NOT_FOUND : ERR_INVALID,
                         "the key is neither PEM text nor a file that can be read (%s)",
                         why.code == ERR_NOT_FOUND     ? "there is none of that name"
                         : stat(text, &st) < 0         ? strerror(errno)
                         : S_ISDIR(st.st_mode)         ? "it names a directory"
                         : !S_ISREG(st.st_mode)        ? "it names no regular file"
                         : st.st_size > (off_t)KEY_MAX ? "it is larger than 64 KB"
                                                       : "it may not be read");
    *pem = buf_cstr(file);
    return 0;
}

static int check_pkey(const struct jwt_key *key, struct error *err)
{
    char curve[64] = "";
    int base = EVP_PKEY_get_base_id(key->pkey);
    if (key->algorithm == RS256) {
        if (base != EVP_PKEY_RSA)
            return error_set(err, ERR_INVALID, "RS256 takes an RSA key, this is of another kind");
        if (EVP_PKEY_get_bits(key->pkey) < 2048)
            return error_set(err, ERR_INVALID, "RS256 takes a key of 2048 bits or more (RFC 7518, 3.3), this has %d",
                             EVP_PKEY_get_bits(key->pkey));
        return 0;
    }
    if (base != EVP_PKEY_EC || !EVP_PKEY_get_group_name(key->pkey, curve, sizeof(curve), NULL) ||
        strcmp(curve, "prime256v1") != 0)
        return error_set(err, ERR_INVALID, "ES256 takes an EC key on P-256, this is %s%s",
                         base == EVP_PKEY_EC ? "on " : "of another kind", base == EVP_PKEY_EC ? curve : "");
    return 0;
}

static int take_private(struct jwt_key *key, const char *text, struct error *err)
{
    struct buf file;
    const char *pem;
    bool asked = false;
    buf_create(&file, KEY_MAX + 1);
    int rc = read_pem(text, &file, &pem, err);
    if (!rc) {
        BIO *bio = BIO_new_mem_buf(pem, -1);
        key->pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked) : NULL;
        BIO_free(bio);
        ERR_clear_error();
        if (!key->pkey)
            rc = error_set(err, ERR_INVALID, "%s",
                           asked ? "the key is protected by a passphrase: give it without one"
                                 : "the key holds no PEM private key");
    }
    if (file.data)
        explicit_bzero(file.data, file.size);
    buf_destroy(&file);
    return rc ? rc : check_pkey(key, err);
}

struct jwt_key *jwt_key_new(const char *algorithm, const char *text, struct error *err)
{
    int which = name_choose("algorithm", algorithm, algorithms, err);
    struct jwt_key *key = which < 0 ? NULL : calloc(1, sizeof(*key));
    if (which < 0)
        return NULL;
    if (!key) {
        error_set(err, ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    key->algorithm = (enum algorithm)which;
    if (!(which == HS256 ? take_secret(key, text, err) : take_private(key, text, err)))
        return key;
    jwt_key_delete(key);
    return NULL;
}

void jwt_key_delete(struct jwt_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    if (key->secret)
        explicit_bzero(key->secret, key->secret_len);
    free(key->secret);
    free(key);
}

// --- signing

// Base64 for URLs, without padding (RFC 7515, 2).
static int append_base64url(struct buf *out, const void *bytes, size_t n)
{
    uint32_t start = out->len;
    if (buf_append_base64(out, bytes, n))
        return -1;
    for (uint32_t i = start; i < out->len; i++)
        out->data[i] = out->data[i] == '+' ? '-' : out->data[i] == '/' ? '_' : out->data[i];
    while (out->len > start && out->data[out->len - 1] == '=')
        out->len--;
    return 0;
}

// OpenSSL's DER becomes r and s of 32 bytes each (RFC 7518, 3.4).
static bool join_rs(uint8_t *signature, size_t *n)
{
    const unsigned char *at = signature;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)*n);
    bool done = pair && BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, 32) == 32 &&
                BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + 32, 32) == 32;
    ECDSA_SIG_free(pair);
    *n = 64;
    return done;
}

static bool sign(const struct jwt_key *key, const uint8_t *text, size_t n, uint8_t *signature, size_t *signature_len)
{
    if (key->algorithm == HS256) {
        unsigned length = 0;
        bool done = HMAC(EVP_sha256(), key->secret, (int)key->secret_len, text, n, signature, &length) != NULL;
        *signature_len = length;
        return done;
    }
    *signature_len = SIGNATURE_MAX;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
                EVP_DigestSign(context, signature, signature_len, text, n) == 1;
    EVP_MD_CTX_free(context);
    return done && (key->algorithm == RS256 || join_rs(signature, signature_len));
}

static int append_part(struct buf *out, const json_t *part, struct error *err)
{
    struct buf text;
    buf_create(&text, TOKEN_MAX);
    int rc = json_write(part, &text, err);
    if (!rc && append_base64url(out, text.data, text.len))
        rc = error_set(err, ERR_LIMIT, "the token takes more than %u bytes", out->cap);
    buf_destroy(&text);
    return rc;
}

static json_t *header_of(const struct jwt_key *key, const char *key_id)
{
    json_t *header = json_pack("{s:s, s:s}", "alg", algorithms[key->algorithm], "typ", "JWT");
    if (header && key_id && json_object_set_new(header, "kid", json_text_of(key_id))) {
        json_decref(header);
        return NULL;
    }
    return header;
}

static json_t *claims_of(const json_t *given, int64_t now_s, int64_t ttl_s)
{
    json_t *claims = given ? json_copy((json_t *)(uintptr_t)given) : json_object();
    if ((!json_object_get(claims, "iat") && json_object_set_new(claims, "iat", json_integer(now_s))) ||
        (!json_object_get(claims, "exp") && json_object_set_new(claims, "exp", json_integer(now_s + ttl_s)))) {
        json_decref(claims);
        return NULL;
    }
    return claims;
}

int jwt_sign(const struct jwt_key *key, const char *key_id, const json_t *given, int64_t now_s, int64_t ttl_s,
             struct buf *out, struct error *err)
{
    uint32_t start = out->len;
    uint8_t signature[SIGNATURE_MAX];
    size_t n;
    if (given && !json_is_object(given))
        return error_set(err, ERR_INVALID, "the claims of a token are an object");
    json_t *header = header_of(key, key_id), *claims = claims_of(given, now_s, ttl_s);
    int rc = header && claims ? 0 : error_set(err, ERR_NO_MEMORY, "out of memory");
    if (!rc && !(rc = append_part(out, header, err))) {
        if (buf_append_char(out, '.'))
            rc = error_set(err, ERR_LIMIT, "the token takes more than %u bytes", out->cap);
        else
            rc = append_part(out, claims, err);
    }
    if (!rc && !sign(key, out->data + start, out->len - start, signature, &n)) {
        ERR_clear_error();
        rc = error_set(err, ERR_INTERNAL, "OpenSSL could not sign the token");
    }
    if (!rc && (buf_append_char(out, '.') || append_base64url(out, signature, n)))
        rc = error_set(err, ERR_LIMIT, "the token takes more than %u bytes", out->cap);
    if (rc)
        out->len = start;
    json_decref(header);
    json_decref(claims);
    return rc;
}
