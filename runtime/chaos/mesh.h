// A timeline as documents for Chaos Mesh (chaos-mesh.org/v1alpha1: NetworkChaos, Schedule): the same bad networks for
// pods, where devices have links of their own here. What pods cannot suffer, or only otherwise, is said in a comment at
// its place; nothing is left out in silence. Read in Chaos Mesh 2.8: rates are unsigned integers with a unit, shares
// and values are texts, "to" and "from" are seen from the selected pods, "from" and "both" need a target.
#pragma once
#include "chaos/experiment.h"
#include "core/buf.h"

struct mesh_config {
    const char *scenario;             // its name, for the comment at the top
    const char *space;                // namespace of documents and pods; NULL: left to the cluster
    const char *const *labels;        // of the pods, "key=value"; none: app.kubernetes.io/name=iotix
    unsigned n_labels;                //
    const char *const *target_labels; // of the servers' pods; none: only what leaves the pods can be impaired
    unsigned n_target_labels;
    const char *mode, *value; // which of the pods; NULL: by the experiment's fraction, else all
};
// What Chaos Mesh's admission would refuse of it: ERR_INVALID.
int mesh_check(const struct mesh_config *c, struct error *err) WARN_UNUSED_RESULT;
// Appends YAML. -1: no memory, or past the buffer's cap.
int mesh_export(const struct mesh_config *c, const struct experiment *list, unsigned n, struct buf *out,
                struct error *err) WARN_UNUSED_RESULT;
