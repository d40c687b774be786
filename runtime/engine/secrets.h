// Passwords that a model refers to by name (connection.passwordRef). They come from a file or the environment, live in
// the supervisor and, by fork, in its children, and are in no plan, log or result.
#pragma once
#include <stdbool.h>
#include "core/error.h"

#define SECRETS_MAX_BYTES (1u << 20) // of a file
#define SECRETS_MAX 10000u           // entries
#define SECRET_MAX_BYTES 65535u      // of one: what a password of MQTT can have

struct secrets;

// A file of NAME=VALUE lines (blank lines and those beginning with # are nothing; the value goes to the end of the
// line, as it stands) or a JSON object of strings. NULL path: the environment alone. A file that others than its owner
// can read or write is refused unless `insecure`; what is no regular file (a pipe) is read as it is. Errors name
// file:line and never a value. Looks only at the environment of the call to secrets_find.
struct secrets *secrets_load(const char *path, bool insecure, struct error *err);
// Overwrites them before they are freed. NULL is fine.
void secrets_delete(struct secrets *secrets);
// The secret of that name from the file, else from the environment variable IOTIX_SECRET_NAME (upper case, every other
// character _). secrets NULL: the environment alone. Borrowed. NULL: ERR_NOT_FOUND, and err says where it was looked
// for.
const char *secrets_find(const struct secrets *secrets, const char *name, struct error *err);
