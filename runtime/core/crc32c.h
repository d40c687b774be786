// CRC-32C (Castagnoli, RFC 3720 appendix B.4), about 0.4 GB a second.
#pragma once
#include <stddef.h>
#include <stdint.h>

// crc: 0, or what came out of the bytes before.
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n);
