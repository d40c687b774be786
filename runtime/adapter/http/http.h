// HTTP 1.1 and 2 for devices: libcurl's multi interface on the loop. Schemes http and https.
//
// Options of a target (camelCase JSON; unknown keys are errors naming the valid ones): see options.h.
// Options of one request (adapter_request.options):
//   query      { NAME: text, number, true, false or a list of them } appended to the path, percent-encoded
//   form       [ { name, value = text | file = path | data = base64 text, filename, type } ] a multipart/form-data body
//   redirects  0..50, retries 0..20 or { … }: in place of the target's
//   auth       false: without the device's credentials
//
// A device is online at once (or when `probe` has answered 2xx); its connection is made by the first request and kept.
// It has one: requests of one device wait for each other over HTTP/1.1 and share the connection over HTTP/2. A long
// poll has a connection of its own.
//
//   publish(topic)     publish.method of PATH/TOPIC. QoS 0 is done when it is asked, QoS 1 and 2 at 2xx.
//   subscribe(filter)  commands.mode "poll": GET of PATH/FILTER (or commands.path) for ever; "serve": POST of
//                      http://HOST:PORT/DEVICE/FILTER to the device's own endpoint.
//   serve(path)        http://HOST:PORT/DEVICE/PATH and what is below it. attributes: { methods = ["GET", …] }
//
// Names of response headers are lower case.
#pragma once
#include "adapter/adapter.h"

extern const struct adapter_ops http_adapter;
