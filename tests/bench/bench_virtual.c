// How fast virtual time is: samples (attribute values) generated, encoded and written a second of CPU, beside a plain
// loop of snprintf and fwrite that makes the same lines, and what a device takes.
//
//   floor        three values a line by snprintf, through a stdio buffer of 1 MB into a file
//   iotix-model  iotix-run --virtual, devices driven by a model of three numbers, no Lua
//   iotix-lua    the same with a behaviour that publishes a table
//   memory       private memory of the shard a device, model alone (200,000 devices against 1,000)
//
// CPU is user and system time of all processes of the run, loading included, on one shard. Prints one JSON row.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/rng.h"

struct options {
    const char *mode, *program;
    unsigned devices, hours;
};

static char dir[] = "/tmp/iotix-bench-XXXXXX";

static void die(const char *what)
{
    fprintf(stderr, "bench_virtual: %s: %s\n", what, strerror(errno));
    exit(1);
}

static const char *file(const char *name, char *dst, size_t size)
{
    snprintf(dst, size, "%s/%s", dir, name);
    return dst;
}

static void clean(void)
{
    static const char *const names[] = {"bench-sensor.json", "model.lua", "lua.lua", "out"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(file(names[i], path, sizeof path));
    rmdir(dir);
}

static void put(const char *name, const char *text)
{
    char path[128];
    FILE *f = fopen(file(name, path, sizeof path), "w");
    if (!f || fputs(text, f) < 0 || fclose(f))
        die(path);
}

// A message every 10 s of three numbers of two decimals.
static void write_scenarios(void)
{
    put("bench-sensor.json",
        "{\"id\":\"bench-sensor\",\"name\":\"Bench\",\"type\":\"sensor\",\"protocol\":\"mqtt\",\"connection\":{\"qos\":"
        "0},"
        "\"telemetry\":["
        "{\"name\":\"temperature\",\"type\":\"number\",\"precision\":2,\"intervalMs\":10000,\"generator\":{\"type\":"
        "\"walk\",\"start\":21,\"step\":0.2,\"min\":15,\"max\":30}},"
        "{\"name\":\"humidity\",\"type\":\"number\",\"precision\":2,\"intervalMs\":10000,\"generator\":{\"type\":"
        "\"uniform\",\"min\":30,\"max\":60}},"
        "{\"name\":\"pressure\",\"type\":\"number\",\"precision\":2,\"intervalMs\":10000,\"generator\":{\"type\":"
        "\"normal\",\"mean\":1013,\"stddev\":5}}]}\n");
    put("model.lua", "local iotix = require \"iotix\"\n"
                     "return iotix.scenario { name = \"bench\", duration = \"1h\", groups = { iotix.group { name = "
                     "\"sensors\", model = \"bench-sensor\", count = 1000 } } }\n");
    put("lua.lua", "local iotix, gen = require \"iotix\", require \"iotix.gen\"\n"
                   "local function behaviour(dev)\n"
                   "  local t = gen.walk { start = 21, step = 0.2, min = 15, max = 30 }\n"
                   "  local h = gen.uniform { min = 30, max = 60 }\n"
                   "  local p = gen.normal { mean = 1013, stddev = 5 }\n"
                   "  assert(dev:connect())\n"
                   "  for _ in dev:every(\"10s\") do\n"
                   "    dev:publish(\"telemetry\", { temperature = t(), humidity = h(), pressure = p() })\n"
                   "  end\n"
                   "end\n"
                   "return iotix.scenario { name = \"bench\", duration = \"1h\", groups = { iotix.group { name = "
                   "\"sensors\", behaviour = behaviour, count = 1000 } } }\n");
}

static double cpu_s(int who)
{
    struct rusage u;
    getrusage(who, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_row(const struct options *o, double messages, double cpu)
{
    char path[128];
    struct stat st = {0};
    stat(file("out", path, sizeof path), &st);
    printf("{\"mode\":\"%s\",\"messages\":%.0f,\"cpu_s\":%.3f,\"samples_per_cpu_s\":%.0f,\"bytes_per_message\":%.1f,"
           "\"complete\":true}\n",
           o->mode, messages, cpu, 3 * messages / cpu, (double)st.st_size / messages);
}

// --- the floor ------------------------------------------------------------------------------------------------------

static void run_floor(const struct options *o)
{
    char path[128], line[512];
    unsigned messages = o->devices * o->hours * 360;
    FILE *f = fopen(file("out", path, sizeof path), "w");
    struct rng rng;
    if (!f || setvbuf(f, NULL, _IOFBF, 1 << 20))
        die(path);
    rng_seed(&rng, 1);
    double walk = 21, before = cpu_s(RUSAGE_SELF);
    for (unsigned i = 0; i < messages; i++) {
        time_t s = 1767225600 + i / o->devices * 10;
        struct tm tm;
        gmtime_r(&s, &tm);
        unsigned device = i % o->devices + 1;
        walk += 0.4 * rng_unit(&rng) - 0.2;
        int n = snprintf(
            line, sizeof line,
            "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\",\"group\":\"sensors\",\"device\":\"sensors-%u\","
            "\"topic\":\"sensors/sensors-%u/telemetry\",\"payload\":{\"temperature\":%.2f,\"humidity\":%.2f,"
            "\"pressure\":%.2f,\"timestamp\":%lld}}\n",
            tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(i % 1000), device,
            device, walk, 30 + 30 * rng_unit(&rng), 1013 + 5 * rng_normal(&rng), (long long)s * 1000 + i % 1000);
        if (fwrite(line, 1, (size_t)n, f) != (size_t)n)
            die(path);
    }
    if (fclose(f))
        die(path);
    print_row(o, messages, cpu_s(RUSAGE_SELF) - before);
}

// --- iotix ----------------------------------------------------------------------------------------------------------

static pid_t start(const struct options *o, const char *scenario, const char *out, unsigned devices, unsigned hours)
{
    char path[128], length[32], count[32], target[160];
    snprintf(length, sizeof length, "%uh", hours);
    snprintf(count, sizeof count, "%u", devices);
    snprintf(target, sizeof target, "ndjson=%s", out);
    file(scenario, path, sizeof path);
    pid_t pid = fork();
    if (pid)
        return pid;
    execl(o->program, o->program, path, "--virtual", "--from", "2026-01-01", "--for", length, "--seed", "1", "--shards",
          "1", "--devices", count, "--sink", target, "--summary", "none", "-q", "--model-dir", dir, (char *)NULL);
    _exit(127);
}

static double count_lines(const char *path)
{
    static char bytes[1 << 20];
    double n = 0;
    FILE *f = fopen(path, "r");
    size_t got;
    if (!f)
        die(path);
    while ((got = fread(bytes, 1, sizeof bytes, f)) > 0)
        for (char *p = bytes; (p = memchr(p, '\n', (size_t)(bytes + got - p))); p++)
            n++;
    fclose(f);
    return n;
}

static void run_iotix(const struct options *o, const char *scenario)
{
    char out[128];
    int status = 0;
    file("out", out, sizeof out);
    pid_t pid = start(o, scenario, out, o->devices, o->hours);
    if (waitpid(pid, &status, 0) != pid || status) {
        fprintf(stderr, "bench_virtual: %s ended with status %d\n", o->program, status);
        exit(1);
    }
    print_row(o, count_lines(out), cpu_s(RUSAGE_CHILDREN)); // whatever it waited for is in it
}

// --- memory ---------------------------------------------------------------------------------------------------------

static double private_bytes(pid_t pid)
{
    char path[64], line[256];
    double kb = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, "Private_", 8) == 0)
            kb += strtod(strchr(line, ':') + 1, NULL);
    fclose(f);
    return kb * 1024;
}

// The child that holds the most: the shard.
static double largest_child(pid_t parent)
{
    char path[64], line[4096];
    double most = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
    FILE *f = fopen(path, "r");
    if (f && fgets(line, sizeof line, f))
        for (char *p = strtok(line, " "); p; p = strtok(NULL, " ")) {
            double bytes = private_bytes((pid_t)strtol(p, NULL, 10));
            most = bytes > most ? bytes : most;
        }
    if (f)
        fclose(f);
    return most;
}

// Of a run that goes on: once it does not grow any more.
static double settled(const struct options *o, unsigned devices)
{
    double last = 0, now = 0;
    int status, same = 0;
    pid_t pid = start(o, "model.lua", "/dev/null", devices, 24 * 365 * 10);
    for (int i = 0; i < 300 && same < 10; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        now = largest_child(pid);
        same = now > 0 && now <= last * 1.005 ? same + 1 : 0;
        last = now > last ? now : last;
    }
    kill(pid, SIGINT);
    waitpid(pid, &status, 0);
    if (same < 10)
        fprintf(stderr, "bench_virtual: memory of %u devices did not settle\n", devices);
    return now;
}

static void run_memory(const struct options *o)
{
    enum { FEW = 1000, MANY = 200000 };
    double few = settled(o, FEW), many = settled(o, MANY);
    printf("{\"mode\":\"memory\",\"devices\":%d,\"bytes_per_device\":%.0f,\"complete\":%s}\n", MANY,
           (many - few) / (MANY - FEW), few > 0 && many > few ? "true" : "false");
}

int main(int argc, char **argv)
{
    struct options o = {.mode = "floor", .program = "build/release/bin/iotix-run", .devices = 1000, .hours = 12};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--mode"))
            o.mode = argv[i + 1];
        else if (!strcmp(argv[i], "--program"))
            o.program = argv[i + 1];
        else if (!strcmp(argv[i], "--devices"))
            o.devices = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (!strcmp(argv[i], "--hours"))
            o.hours = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else
            die(argv[i]);
    }
    if (!mkdtemp(dir))
        die(dir);
    atexit(clean);
    write_scenarios();
    if (!strcmp(o.mode, "floor"))
        run_floor(&o);
    else if (!strcmp(o.mode, "iotix-model"))
        run_iotix(&o, "model.lua");
    else if (!strcmp(o.mode, "iotix-lua"))
        run_iotix(&o, "lua.lua");
    else if (!strcmp(o.mode, "memory"))
        run_memory(&o);
    else
        die("--mode floor|iotix-model|iotix-lua|memory");
    return 0;
}
