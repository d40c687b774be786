// Errors: a value filled once, at its origin, and passed up by pointer.
//
// Functions that can fail return 0/-1 or pointer/NULL and take a `struct error *err` as their last
// parameter. `err` may be NULL when the caller does not care, and need not be initialised. It is set once, where the
// failure is first seen; callers above add to it with error_prefix(), which keeps code and file:line. A second
// error_set() replaces the first.
#pragma once

#define WARN_UNUSED_RESULT __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

// What kind of failure it is. The lower-case name (error_code_name) is what Lua gets as third value
// of `nil, message, code` and what groups errors in the summary.
enum error_code {
    ERR_NONE = 0,
    ERR_INVALID,     // the author or the user gave something wrong
    ERR_NOT_FOUND,   // a file, group, device or name that does not exist
    ERR_LIMIT,       // a cap was reached: queue, buffer, descriptors, memory
    ERR_NO_MEMORY,   // malloc failed
    ERR_IO,          // a system call failed; the text carries strerror
    ERR_RESOLVE,     // a host name could not be resolved
    ERR_REFUSED,     // the peer refused: connection refused, CONNACK with a refusal
    ERR_CLOSED,      // the connection was closed (by the peer unless the text says otherwise)
    ERR_TIMEOUT,     // nothing came in time
    ERR_PROTOCOL,    // the peer sent bytes that the protocol forbids
    ERR_STATE,       // the operation is not possible in this state (not connected, already connected)
    ERR_CANCELLED,   // the device or the run is being stopped
    ERR_TLS,         // TLS: the handshake or a certificate failed
    ERR_UNSUPPORTED, // not built in or not possible on this machine
    ERR_INTERNAL,    // a bug of iotix
    ERR_CODE_MAX
};

struct error {
    enum error_code code;
    int line;         // where it was set
    const char *file; // where it was set, static string
    char text[496];   // one line, no newline at the end, truncated to fit
};

// Empties an error.
void error_clear(struct error *err);

// Fills `err` (may be NULL) and returns -1, so that `return error_set(err, ...)` reads well. The arguments may point
// into err->text. Control characters become spaces, so that an error is always one line.
#define error_set(err, code, ...) error_set_at((err), __FILE__, __LINE__, (code), __VA_ARGS__)
int error_set_at(struct error *err, const char *file, int line, enum error_code code, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

// As error_set with ": strerror(errno)" appended; the code is ERR_IO unless errno says better
// (ECONNREFUSED → ERR_REFUSED, ETIMEDOUT → ERR_TIMEOUT, ENOENT → ERR_NOT_FOUND, EMFILE/ENFILE → ERR_LIMIT ...).
#define error_set_errno(err, ...) error_set_errno_at((err), __FILE__, __LINE__, __VA_ARGS__)
int error_set_errno_at(struct error *err, const char *file, int line, const char *fmt, ...) PRINTF_LIKE(4, 5);

// Puts "prefix: " in front of the text that is there (truncates at the end). Keeps code and origin. Returns -1.
int error_prefix(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

// "timeout", "refused", ... ; a static string, never NULL.
const char *error_code_name(enum error_code code);
