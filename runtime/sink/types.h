// The sinks there are. Not for other rooms: they ask sink_find.
#pragma once
#include "sink/sink.h"

extern const struct sink_ops influx_sink;        // influx.c
extern const struct sink_ops kafka_sink;         // kafka.c
extern const struct sink_ops ndjson_sink;        // file.c
extern const struct sink_ops csv_sink;           // file.c
extern const struct sink_ops line_protocol_sink; // file.c
