// Trying the run's plugins before anything else is started.
#pragma once
#include "engine/run.h"

// False: one of them is no good; `bad` is told of each (IOTX050).
bool plugins_work(const struct run_config *config, void (*bad)(void *arg, const struct diagnostic *d), void *arg);
