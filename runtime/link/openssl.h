// OpenSSL's headers have a type of the name ERR_STATE, which is one of our error codes (core/error.h): it is renamed
// while they are read. Include this in place of <openssl/…>; it may stand before or behind core/error.h.
#pragma once
#define ERR_STATE OPENSSL_ERR_STATE
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#undef ERR_STATE
