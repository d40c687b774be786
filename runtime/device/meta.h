// A copy of what a message carries beside topic and payload, for a message that has to wait.
#pragma once
#include "adapter/adapter.h"

// In one piece of memory; free() it. NULL for NULL, and without memory (tell by `from`).
struct adapter_meta *meta_copy(const struct adapter_meta *from);
