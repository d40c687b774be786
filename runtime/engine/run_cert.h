// The run's own CA, and the certificate of its embedded targets: made in memory at the start of a run that needs them,
// gone with it.
#pragma once
#include <stdint.h>
#include "core/error.h"

struct run_cert {     // PEM, owned
    char *ca;         // certificate of the CA; its key is forgotten at once
    char *cert, *key; // of a server: localhost, embedded, 127.0.0.1, ::1
};
// Valid from an hour before now_wall_us for 30 days. P-256: a millisecond.
int run_cert_make(struct run_cert *c, int64_t now_wall_us, struct error *err) WARN_UNUSED_RESULT;
void run_cert_destroy(struct run_cert *c);
