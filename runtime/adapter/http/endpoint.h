// Which device serves what: the targets of requests to the embedded server.
#pragma once
#include "adapter/http/conn.h"
#include "adapter/http/server.h"

struct http_endpoints; // of a target: devices by name, tickets of requests that wait

void http_endpoints_delete(struct http_endpoints *e);
