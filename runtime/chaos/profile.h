// Profiles: faults of a network under a name, as JSON:
//   {"name": "depot-wifi", "version": 3, "description": text, "source": where its figures are from, "fault": {…}}
// A store is a directory with one file a version, NAME@VERSION.json. A version never changes: saving makes the next
// one. Files are shared by copying them; what is read is checked as if a stranger had written it.
#pragma once
#include <jansson.h>
#include <stdint.h>
#include "core/error.h"
#include "link/fault_spec.h"

#define PROFILE_BYTES_MAX (16u << 20) // a file: a trace may be long
#define PROFILE_VERSION_MAX 999999
#define PROFILES_MAX 10000 // files of a store that are looked at

struct profile {
    json_t *json;                            // owned; name, description and source lie in it
    const char *name, *description, *source; // the last two may be ""
    int64_t version;                         // 0: none yet
    struct fault_spec *fault;
};
// Lower case letters, digits, "-", "_" and ".", beginning with a letter or a digit, at most 64.
int profile_check_name(const char *name, struct error *err) WARN_UNUSED_RESULT;
// Unknown keys, a bad name, a version that is none, a fault that is none: ERR_INVALID. json is referenced.
int profile_parse(struct profile *p, json_t *json, struct error *err) WARN_UNUSED_RESULT;
void profile_destroy(struct profile *p);

// The latest version of each, by name: [{"name", "version", "versions": n, "description", "source"}]; a file that is
// broken is listed with its "error" instead. A directory that does not exist is empty. Owned by the caller; NULL: err.
json_t *profile_list(const char *dir, struct error *err);
// version 0: the latest. ERR_NOT_FOUND suggests a name, or says which versions there are.
int profile_load(const char *dir, const char *name, int64_t version, struct profile *out,
                 struct error *err) WARN_UNUSED_RESULT;
// Writes it as the version after the latest, *version; what `json` says of its version does not matter. The directory
// is made if it does not exist. Whole or not at all; two that save at once get two versions.
int profile_save(const char *dir, const json_t *json, int64_t *version, struct error *err) WARN_UNUSED_RESULT;
