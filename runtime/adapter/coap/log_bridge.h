// What libcoap says goes to our log at debug level. Apart from the rest, because libcoap's headers and core/log.h both
// name LOG_DEBUG.
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct log;
// Once for each target that lives; the last log given is the one that is written to.
void coap_log_attach(struct log *log);
void coap_log_detach(struct log *log);
// Whether everything libcoap has to say is wanted, and not its warnings alone.
bool coap_log_verbose(void);
// A line of libcoap's handler: logged, and its words kept when it is a warning (syslog level 4 or lower).
void coap_log_line(int syslog_level, const char *text);
// Why a message of a peer was not read (core/log.h, debug level). option: the one at fault, 0: none.
void coap_log_malformed(const char *why, unsigned option);
// The last warning since the last call, without blanks and session addresses; "" for none. For error texts.
const char *coap_log_take(char *dst, size_t size);
