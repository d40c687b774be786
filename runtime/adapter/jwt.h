// JSON Web Tokens (RFC 7519), signed (RFC 7515 compact form) with HS256, RS256 or ES256 through OpenSSL.
#pragma once
#include <jansson.h>
#include "core/buf.h"
#include "core/error.h"

struct jwt_key;
// HS256: the secret as it stands, or "base64:…". RS256 (2048 bits at least) and ES256 (P-256): PEM text or the path of
// a PEM file with the private key. NULL: ERR_INVALID, ERR_NOT_FOUND; errors never quote the key.
struct jwt_key *jwt_key_new(const char *algorithm, const char *key, struct error *err);
void jwt_key_delete(struct jwt_key *key);
// Appends the token. claims: an object of which iat and exp are set from now_s and ttl_s unless it has them. key_id:
// header "kid", may be NULL.
int jwt_sign(const struct jwt_key *key, const char *key_id, const json_t *claims, int64_t now_s, int64_t ttl_s,
             struct buf *out, struct error *err) WARN_UNUSED_RESULT;
