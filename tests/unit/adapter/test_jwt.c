// Tokens, checked with OpenSSL's own verification and with a known answer.
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#undef ERR_STATE

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "adapter/jwt.h"
#include "core/jsonx.h"

#define KNOWN_TOKEN                                                                                                    \
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkLTEiLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMzYwMH0."            \
    "Q40HZvTNccPsVWyqSwuMeuXjVrZLj4gykBfAsiSWWf4"

static char *pem_of(EVP_PKEY *key)
{
    char *bytes, *text;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
    long n = BIO_get_mem_data(bio, &bytes);
    text = strndup(bytes, (size_t)n);
    BIO_free(bio);
    return text;
}

static size_t decode(const char *text, size_t n, unsigned char *dst)
{
    char padded[4096];
    size_t k = 0;
    assert_true(n + 4 < sizeof(padded));
    for (; k < n; k++)
        padded[k] = text[k] == '-' ? '+' : text[k] == '_' ? '/' : text[k];
    while (k % 4)
        padded[k++] = '=';
    int got = EVP_DecodeBlock(dst, (unsigned char *)padded, (int)k);
    assert_true(got >= 0);
    return (size_t)got - (k - n);
}

struct parts {
    json_t *header, *claims;
    unsigned char signature[1024];
    size_t signature_len, signed_len;
};

static void take_apart(const char *token, struct parts *p)
{
    unsigned char bytes[4096];
    struct error err;
    const char *first = strchr(token, '.'), *second = strchr(first + 1, '.');
    assert_null(strchr(second + 1, '.'));
    assert_null(strpbrk(token, "+/= \n"));
    size_t n = decode(token, (size_t)(first - token), bytes);
    p->header = json_parse((char *)bytes, n, "header", &err);
    n = decode(first + 1, (size_t)(second - first) - 1, bytes);
    p->claims = json_parse((char *)bytes, n, "claims", &err);
    p->signature_len = decode(second + 1, strlen(second + 1), p->signature);
    p->signed_len = (size_t)(second - token);
    assert_non_null(p->header);
    assert_non_null(p->claims);
}

static void let_go(struct parts *p)
{
    json_decref(p->header);
    json_decref(p->claims);
}

static bool verifies(EVP_PKEY *key, const unsigned char *signature, size_t n, const char *text, size_t text_len)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(context, signature, n, (const unsigned char *)text, text_len) == 1;
    EVP_MD_CTX_free(context);
    return good;
}

// Computed with an independent implementation (python: hmac over the same bytes).
static void hs256_gives_the_known_token(void **state)
{
    struct error err;
    struct buf out;
    (void)state;
    struct jwt_key *key = jwt_key_new("HS256", "your-256-bit-secret", &err);
    json_t *claims = json_parse("{\"sub\":\"d-1\"}", 13, "claims", &err);
    buf_create(&out, 4096);
    assert_non_null(key);
    assert_int_equal(jwt_sign(key, NULL, claims, 1700000000, 3600, &out, &err), 0);
    assert_string_equal(buf_cstr(&out), KNOWN_TOKEN);
    json_decref(claims);
    jwt_key_delete(key);
    // The same secret in base64 is the same key.
    buf_clear(&out);
    key = jwt_key_new("HS256", "base64:eW91ci0yNTYtYml0LXNlY3JldA==", &err);
    claims = json_parse("{\"sub\":\"d-1\"}", 13, "claims", &err);
    assert_int_equal(jwt_sign(key, NULL, claims, 1700000000, 3600, &out, &err), 0);
    assert_string_equal(buf_cstr(&out), KNOWN_TOKEN);
    json_decref(claims);
    jwt_key_delete(key);
    buf_destroy(&out);
}

static void rs256_verifies(void **state)
{
    struct error err;
    struct buf out;
    struct parts p;
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    (void)state;
    char *pem = pem_of(rsa);
    struct jwt_key *key = jwt_key_new("RS256", pem, &err);
    assert_non_null(key);
    buf_create(&out, 4096);
    assert_int_equal(jwt_sign(key, "kid-7", NULL, 100, 50, &out, &err), 0);
    take_apart(buf_cstr(&out), &p);
    assert_string_equal(json_string_value(json_object_get(p.header, "alg")), "RS256");
    assert_string_equal(json_string_value(json_object_get(p.header, "kid")), "kid-7");
    assert_int_equal(json_integer_value(json_object_get(p.claims, "iat")), 100);
    assert_int_equal(json_integer_value(json_object_get(p.claims, "exp")), 150);
    assert_true(verifies(rsa, p.signature, p.signature_len, buf_cstr(&out), p.signed_len));
    let_go(&p);
    jwt_key_delete(key);
    buf_destroy(&out);
    free(pem);
    EVP_PKEY_free(rsa);
}

static void es256_is_r_and_s(void **state)
{
    struct error err;
    struct buf out;
    struct parts p;
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    (void)state;
    char *pem = pem_of(ec);
    struct jwt_key *key = jwt_key_new("ES256", pem, &err);
    assert_non_null(key);
    buf_create(&out, 4096);
    for (unsigned i = 0; i < 50; i++) { // r or s is short now and then
        buf_clear(&out);
        assert_int_equal(jwt_sign(key, NULL, NULL, i, 50, &out, &err), 0);
        take_apart(buf_cstr(&out), &p);
        assert_int_equal(p.signature_len, 64);
        ECDSA_SIG *pair = ECDSA_SIG_new();
        unsigned char *der = NULL;
        ECDSA_SIG_set0(pair, BN_bin2bn(p.signature, 32, NULL), BN_bin2bn(p.signature + 32, 32, NULL));
        int n = i2d_ECDSA_SIG(pair, &der);
        assert_true(verifies(ec, der, (size_t)n, buf_cstr(&out), p.signed_len));
        OPENSSL_free(der);
        ECDSA_SIG_free(pair);
        let_go(&p);
    }
    jwt_key_delete(key);
    buf_destroy(&out);
    free(pem);
    EVP_PKEY_free(ec);
}

static void what_the_author_sets_stays(void **state)
{
    struct error err;
    struct buf out;
    struct parts p;
    static const char text[] = "{\"iat\":1,\"exp\":2,\"aud\":[\"a\",\"b\"],\"x\":{\"y\":null}}";
    (void)state;
    struct jwt_key *key = jwt_key_new("HS256", "s", &err);
    json_t *claims = json_parse(text, sizeof(text) - 1, "claims", &err);
    buf_create(&out, 4096);
    assert_int_equal(buf_append_str(&out, "Bearer "), 0); // appended to what is there
    assert_int_equal(jwt_sign(key, NULL, claims, 100, 50, &out, &err), 0);
    take_apart(buf_cstr(&out) + 7, &p);
    assert_true(json_equal(p.claims, claims));
    let_go(&p);
    json_decref(claims);
    jwt_key_delete(key);
    buf_destroy(&out);
}

static void at_the_cap_nothing_is_appended(void **state)
{
    struct error err;
    struct buf out;
    (void)state;
    struct jwt_key *key = jwt_key_new("HS256", "s", &err);
    for (uint32_t cap = 4; cap < 150; cap++) {
        buf_create(&out, cap);
        assert_int_equal(buf_append_str(&out, "abc"), 0);
        if (jwt_sign(key, "k", NULL, 100, 50, &out, &err)) {
            assert_int_equal(out.len, 3);
            assert_int_equal(err.code, ERR_LIMIT);
        }
        buf_destroy(&out);
    }
    jwt_key_delete(key);
}

static void refuses(const char *algorithm, const char *key, enum error_code code, const char *part)
{
    struct error err = {0};
    assert_null(jwt_key_new(algorithm, key, &err));
    if (!strstr(err.text, part))
        fail_msg("\"%s\" lacks \"%s\"", err.text, part);
    assert_int_equal(err.code, code);
    if (strlen(key) > 8)
        assert_null(strstr(err.text, key)); // never quoted
}

static void bad_keys_say_what_is_expected(void **state)
{
    (void)state;
    EVP_PKEY *small = EVP_RSA_gen(1024), *curve = EVP_EC_gen("P-384"), *ec = EVP_EC_gen("P-256");
    char *small_pem = pem_of(small), *curve_pem = pem_of(curve), *ec_pem = pem_of(ec);
    refuses("HS512", "x", ERR_INVALID, "valid: HS256, RS256, ES256");
    refuses("HS256", "", ERR_INVALID, "empty");
    refuses("HS256", "base64:%%%%", ERR_INVALID, "not base64");
    refuses("HS256", "base64:abc", ERR_INVALID, "not base64");
    refuses("HS256", "base64:", ERR_INVALID, "not base64");
    refuses("HS256", ec_pem, ERR_INVALID, "HS256 takes a secret");
    refuses("RS256", "super-secret-that-is-no-path", ERR_NOT_FOUND, "neither PEM text nor a file");
    refuses("RS256", "/proc", ERR_INVALID, "neither PEM text nor a file");
    refuses("RS256", small_pem, ERR_INVALID, "2048 bits");
    refuses("RS256", ec_pem, ERR_INVALID, "takes an RSA key");
    refuses("ES256", curve_pem, ERR_INVALID, "on secp384r1");
    refuses("ES256", small_pem, ERR_INVALID, "another kind");
    refuses("ES256", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", ERR_INVALID,
            "no PEM private key");
    refuses("ES256", "-----BEGIN", ERR_INVALID, "no PEM private key");
    free(small_pem);
    free(curve_pem);
    free(ec_pem);
    EVP_PKEY_free(small);
    EVP_PKEY_free(curve);
    EVP_PKEY_free(ec);
}

// Nobody is asked on a terminal.
static void a_passphrase_is_told(void **state)
{
    char *bytes, *text;
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    (void)state;
    assert_true(PEM_write_bio_PKCS8PrivateKey(bio, ec, EVP_aes_128_cbc(), "secret", 6, NULL, NULL));
    long n = BIO_get_mem_data(bio, &bytes);
    text = strndup(bytes, (size_t)n);
    refuses("ES256", text, ERR_INVALID, "passphrase");
    free(text);
    BIO_free(bio);
    EVP_PKEY_free(ec);
}

static void a_key_may_be_a_file(void **state)
{
    char path[] = "/tmp/iotix-jwt-XXXXXX";
    struct error err;
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    char *pem = pem_of(ec);
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0 && write(fd, pem, strlen(pem)) == (ssize_t)strlen(pem));
    close(fd);
    struct jwt_key *key = jwt_key_new("ES256", path, &err);
    unlink(path);
    assert_non_null(key);
    jwt_key_delete(key);
    jwt_key_delete(NULL);
    free(pem);
    EVP_PKEY_free(ec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hs256_gives_the_known_token),
        cmocka_unit_test(rs256_verifies),
        cmocka_unit_test(es256_is_r_and_s),
        cmocka_unit_test(what_the_author_sets_stays),
        cmocka_unit_test(at_the_cap_nothing_is_appended),
        cmocka_unit_test(bad_keys_say_what_is_expected),
        cmocka_unit_test(a_passphrase_is_told),
        cmocka_unit_test(a_key_may_be_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
