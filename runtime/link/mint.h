// Certificates for devices, signed by a CA that the run was given.
//
// EC: every device has a key of its own (P-256). RSA: making one takes a tenth of a second, so all devices of a
// transport have the same RSA key under certificates of their own.
#pragma once
#include <jansson.h>
#include "link/tls_context.h"

struct mint;
struct minted; // certificate and key, one allocation of about 500 bytes; kept by a connection

// options: of `mint` (transport.h). NULL: err.
struct mint *mint_new(const json_t *options, struct error *err);
void mint_delete(struct mint *m);
// A certificate with the common name given (1 to 64 bytes), valid from an hour before now_wall_us. *pair is filled
// (tls_pair_clear); *keep is made for mint_again.
int mint_make(struct mint *m, const char *name, size_t n, int64_t now_wall_us, struct tls_pair *pair,
              struct minted **keep, struct error *err);
// Whether one that was kept is for this name and still valid.
bool minted_fits(const struct minted *kept, const char *name, size_t n, int64_t now_wall_us);
// The same certificate once more.
int mint_again(struct mint *m, const struct minted *kept, struct tls_pair *pair, struct error *err);
size_t minted_footprint(const struct minted *kept);
