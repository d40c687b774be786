// What can be wrong with a device's network, as data: types with attributes, read from JSON and shared by all devices
// that suffer it. Nothing here has state of a device (fault.h has) or moves bytes (path.h does).
//
// The JSON of a fault; at least one key. Durations, rates and shares are texts with a unit or bare numbers (seconds,
// bits a second, 0..1): "200ms", "500kbit" (bit, kbit, mbit, gbit a second, 1000-based; "/s" may follow), "5%".
//
//   latency    V | {value V, jitter V, distribution "normal"|"uniform"|"pareto", correlation share}
//                  default normal; jitter: standard deviation, of uniform the half width; fault.c has the formulas
//   rtt        V: latency of half of it each way
//   loss       V | {rate V, correlation share}
//              | {burst {p, r, good 0, bad 1}}: Gilbert–Elliott: p share to enter the bad state per packet, r to leave
//                it, `good` and `bad` the loss in each; mean burst length 1/r, mean loss p/(p+r) with the defaults
//   duplicate  V | {rate V, correlation}                        datagrams
//   reorder    V | {rate V, correlation, gap n}  sent at once while the others are delayed: needs latency; datagrams
//   corrupt    V | {rate V, correlation}         one random bit of a datagram flips; TCP: a lost segment (checksum)
//   bandwidth  V | {rate V, burst bytes, queue bytes | queueTime duration, full "drop"|"delay"}
//                  default queue 64 KB; full: drop for datagrams, delay for streams (the sender is held back; "drop"
//                  there means lost segments)
//   mtu        bytes, 68..65535: larger datagrams are dropped; segments of streams are smaller
//   (correlation: 0 .. 0.999, of neighbouring packets; it changes neither the mean nor the spread)
//   partition  true | {direction "both"|"up"|"down", hosts [..], ports [..], protocols [..], allow {hosts, ports,
//              protocols}}: only peers in each of the lists are cut off; those of allow (one object, or a list of them)
//              never. hosts: addresses, CIDR or the name in the URL. protocols: "dns" (lookups: port 53, no host),
//              "mqtt", "coap", "http", or the name of another adapter
//   halfOpen   true: neither end hears that the other closed or vanished
//   reset      true | {every duration, jitter duration}: RST at the beginning, also of each window of `during`; and
//              again and again, each up to `jitter` later than `every`
//   slowClose  duration: the end of a connection takes this much longer to be heard of
//   dns        {fail share, delay V}             at each lookup, that is at each connect by name
//   connect    {refuse share, timeout share, delay V}
//   tls        {fail share}: the handshake is ended with the alert handshake_failure
//   during     {on duration, every duration, offset duration, spread bool}: all of the fault only in the first `on` of
//              each `every`; spread: each device begins at a point of its own
//   trace      {rows [[t, rtt, loss, rate], …] | csv TEXT, repeat bool}: a measured trace in place of the values of
//              latency, loss and bandwidth (their jitter, correlation and queue stay); a step at each t, ascending;
//              empty or null cells: not touched. rate 0: nothing passes until the next step. repeat: again when the
//              last row has lasted as long as the one before it. CSV: separated by , ; or tab, with a header naming
//              time, rtt, loss, rate (in any order, time in seconds, rtt in ms, loss 0..1 or with %, rate in bit/s);
//              up to 100,000 rows, 8 MB
//   up, down   {latency, loss, duplicate, reorder, corrupt, bandwidth, mtu, trace}: of one direction, in place of the
//              outer one. up: from the device to the server. What stands outside applies to each direction.
// `false` for partition, halfOpen and reset is as if it were not there. Latencies and delays: up to an hour.
//
// V, a value: constant | {ramp {from, to, over duration}} | {sine {mean, amplitude, period duration, phase share}}.
// Time runs from the beginning of the fault on the device.
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/error.h"

struct fault_spec; // immutable, counted

// ERR_INVALID: unknown keys (naming the valid ones), values that are none, negative, absurd (latency over an hour, loss
// over 1, rate 0), reorder without latency, on > every.
struct fault_spec *fault_spec_parse(const json_t *json, struct error *err) WARN_UNUSED_RESULT;
struct fault_spec *fault_spec_ref(struct fault_spec *s);
void fault_spec_release(struct fault_spec *s); // NULL: nothing
// The same as JSON in canonical form: numbers in seconds, bit/s and shares. Parses to the same again. Owned by the
// caller; NULL without memory.
json_t *fault_spec_json(const struct fault_spec *s);
// The types in it, in the order in which they act, "latency 200 ms ± 50 ms, loss 5 %": for logs and marks. Returns dst.
char *fault_spec_describe(const struct fault_spec *s, char *dst, size_t size);
