// SHA-256 (FIPS 180-4): which scenario ran, in every summary.
#pragma once
#include <stddef.h>

// dst: 64 hexadecimal digits; "" when libcrypto has no memory or no SHA-256.
void sha256_hex(const void *bytes, size_t n, char dst[65]);
