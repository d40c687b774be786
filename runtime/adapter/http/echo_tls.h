// TLS in front of the echo server: what comes is decrypted and handed to its plain port. (civetweb loads OpenSSL by a
// name that only development packages have.)
#pragma once
#include "adapter/http/echo.h"

struct echo_tls;
struct echo_tls *echo_tls_new(const struct http_echo_config *config, int plain_port, int *port, struct error *err);
void echo_tls_delete(struct echo_tls *t);
