#include "engine/digest.h"

#include <openssl/evp.h>
#include <stdio.h>

void sha256_hex(const void *bytes, size_t n, char dst[65])
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    dst[0] = '\0';
    if (!EVP_Digest(bytes, n, md, &len, EVP_sha256(), NULL) || len != 32)
        return;
    for (unsigned i = 0; i < len; i++)
        snprintf(dst + 2 * (size_t)i, 3, "%02x", md[i]);
}
