#include "adapter/coap/log_bridge.h"

#include <stdio.h>
#include <string.h>

#include "core/log.h"

// libcoap's log handler is one function of the process, without an argument.
static struct {
    struct log *log;
    unsigned users;
    char words[200];
} bridge; // file-scope state: see above

void coap_log_attach(struct log *log)
{
    if (log)
        bridge.log = log;
    bridge.users++;
}

void coap_log_detach(struct log *log)
{
    if (--bridge.users == 0 || bridge.log == log)
        bridge.log = NULL;
}

bool coap_log_verbose(void)
{
    return bridge.log && log_enabled(bridge.log, LOG_DEBUG);
}

// "***127.0.0.1:4711 <-> 127.0.0.1:5684 DTLS: SSL3 alert ..." without its beginning.
static const char *behind_address(const char *text)
{
    static const char *const transports[] = {" UDP", " DTLS", " TCP", " TLS"};
    const char *arrow = strstr(text, " <-> ");
    const char *at = NULL;
    for (size_t i = 0; arrow && !at && i < sizeof transports / sizeof *transports; i++)
        if ((at = strstr(arrow, transports[i])))
            at += strlen(transports[i]);
    return at ? at + strspn(at, " :") : text + strspn(text, " *:");
}

void coap_log_line(int syslog_level, const char *text)
{
    const char *words = behind_address(text);
    size_t n = strcspn(words, "\n");
    // The first cause is the one to tell: what follows are its consequences. A reset is nobody's cause: it may be of
    // any session.
    if (syslog_level <= 4 && !bridge.words[0] && strncmp(words, "got RST", 7) != 0)
        snprintf(bridge.words, sizeof bridge.words, "%.*s", (int)n, words);
    log_write(bridge.log, LOG_DEBUG, NULL, "libcoap: %.*s", (int)strcspn(text, "\n"), text);
}

void coap_log_malformed(const char *why, unsigned option)
{
    if (option)
        log_write(bridge.log, LOG_DEBUG, NULL, "not read: option %u: %s", option, why);
    else
        log_write(bridge.log, LOG_DEBUG, NULL, "not read: %s", why);
}

const char *coap_log_take(char *dst, size_t size)
{
    snprintf(dst, size, "%s", bridge.words);
    bridge.words[0] = '\0';
    return dst;
}
