// What a device proves itself with: patterns by field, and JSON Web Tokens signed for each device. Of a group, and of a
// side connection (script room), whose own come before the group's.
//
//   { "client_id", "username", "password", "token", "tls_cert", "tls_key", "tls_name", "psk_identity", "psk_key":
//     patterns, "jwt": {
//       "algorithm": "HS256" | "RS256" | "ES256",  "key": pattern: secret, PEM text or the path of a PEM file
//       "key_id": pattern | null,  "claims": { NAME: any JSON; texts are patterns },
//       "ttl": us,                 of a token (1 hour)
//       "refresh": 0 to 1,         share of ttl after which a connection is renewed (0.8); 0: never
//       "as": "password" | "token" } }
//
// Patterns know ${deviceId} ${groupId} ${index} ${timestamp} ${timestampIso} and ${data.COLUMN}. A certificate or key
// is PEM text or the path of a file, as it renders. Errors never quote a secret.
#pragma once
#include "device/device.h"

struct credentials;
// json: borrowed for the call; NULL and JSON null: NULL without an error (err->code ERR_NONE). data: of the group;
// outlives it. token_by_default: what "as" is when nobody says (HTTP and CoAP: a token). Keys, and
// certificates with theirs, that have no placeholders are read and checked here.
struct credentials *credentials_new(const json_t *json, const struct dataset *data, bool token_by_default,
                                    struct error *err);
void credentials_delete(struct credentials *c);
// Whether it has something for this field. NULL is fine.
bool credentials_have(const struct credentials *c, enum adapter_field field);
// All of those: bit 1u << FIELD_….
uint32_t credentials_mask(const struct credentials *c);
// Appends the field for this device; nothing when there is none. A token is signed anew at each call, with the device's
// clock.
int credentials_field(const struct credentials *c, const struct device *device, enum adapter_field field,
                      struct buf *out, struct error *err) WARN_UNUSED_RESULT;
// How long after it connected a connection should be renewed because its password expires, without any spread; 0:
// never.
int64_t credentials_renew_us(const struct credentials *c);
