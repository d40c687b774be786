// Durations, counts and sizes as people write them. One grammar for the CLI, Lua and model files.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include "core/error.h"

// "250us" "10ms" "1.5s" "2m" "1h" "7d" and sums "1m30s" (units descending) → microseconds; "0" needs no unit. A bare
// number is seconds when `bare_seconds`, otherwise an error that says to write a unit. Negative, NaN, overflow (> 100
// years) are errors.
int duration_parse(const char *s, bool bare_seconds, int64_t *out_us, struct error *err) WARN_UNUSED_RESULT;
// Seconds as a double (from Lua) → microseconds; NaN, negative or > 100 years is an error.
int duration_from_seconds(double s, int64_t *out_us, struct error *err) WARN_UNUSED_RESULT;
// Short form, 2 or 3 significant digits: "850 us" "3.1 ms" "21.4 ms" "212 ms" "1.20 s" "42.5 s" "2m05s" "1h10m"
// "3d04h". Returns dst.
char *duration_format(int64_t us, char *dst, size_t size);
// "10k" "1m" "1_000" "250" → count; "k" = 1e3, "m" = 1e6 (case-insensitive); negative or fraction is an error.
int count_parse(const char *s, uint64_t *out, struct error *err) WARN_UNUSED_RESULT;
// "64KB" "1MB" "2GB" "4096" → bytes (1024-based).
int size_parse(const char *s, uint64_t *out, struct error *err) WARN_UNUSED_RESULT;
// "500kbit" "1.5mbit/s" "2gbit" "9600bit" "9600" → bits a second (1000-based; letters in any case). Bytes, and what
// leaves open whether it means bytes ("kbps", "k"), are errors that say so.
int rate_parse(const char *s, double *out, struct error *err) WARN_UNUSED_RESULT;
// Bits a second → "500 kbit/s", "1.5 Mbit/s". Returns dst.
char *rate_format(double bits_a_second, char *dst, size_t size);
// "5%" "0.1 %" "0.05" → 0.05: a part of a whole, 0 to 1.
int share_parse(const char *s, double *out, struct error *err) WARN_UNUSED_RESULT;
// 12345678 → "12,345,678". Returns dst.
char *count_format(uint64_t n, char *dst, size_t size);
// Bytes → "4.4 GB", "12.1 MB". Returns dst.
char *size_format(double bytes, char *dst, size_t size);
// A whole decimal number in [min,max]; junk after it is an error. Used instead of atoi everywhere.
int int_parse(const char *s, int64_t min, int64_t max, int64_t *out, struct error *err) WARN_UNUSED_RESULT;
int double_parse(const char *s, double *out, struct error *err) WARN_UNUSED_RESULT;
// The candidate nearest to `word` by edit distance (at most 1/3 of its length + 1), or NULL. `candidates` ends with
// NULL.
const char *suggest(const char *word, const char *const *candidates);
// "a, b, c" of a NULL-terminated list, cut before the first name that does not fit. Returns dst.
char *names_join(const char *const *names, char *dst, size_t size);
// `WHAT "word"; valid: a, b; did you mean "b"?` as ERR_INVALID; "none" for an empty list. Returns -1.
int error_unknown(struct error *err, const char *what, const char *word, const char *const *valid);
// The place of a word in a NULL-terminated list, or -1 with error_unknown.
int name_choose(const char *what, const char *word, const char *const *valid, struct error *err);
