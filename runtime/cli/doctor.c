// doctor: what limits the number of devices on this machine, and the lines that raise it. Reads, changes nothing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/launch.h"
#include "core/file.h"
#include "core/units.h"

struct report {
    const char *root;
    struct finding *out;
    unsigned n;
};

static struct finding *add(struct report *r, const char *name, int grade)
{
    struct finding *f = &r->out[r->n < FINDINGS_MAX ? r->n++ : FINDINGS_MAX - 1];
    memset(f, 0, sizeof(*f));
    snprintf(f->name, sizeof(f->name), "%s", name);
    f->grade = grade;
    return f;
}

// First line of a small file of /proc or /sys; false when it is not there.
static bool read_line(const struct report *r, const char *path, char *dst, size_t size)
{
    char full[512];
    snprintf(full, sizeof(full), "%s%s", r->root, path);
    FILE *f = fopen(full, "re");
    bool ok = f && fgets(dst, (int)size, f);
    if (f)
        fclose(f);
    if (ok)
        dst[strcspn(dst, "\n")] = '\0';
    return ok;
}

static bool read_number(const struct report *r, const char *path, unsigned long long *out)
{
    char line[128];
    return read_line(r, path, line, sizeof(line)) && sscanf(line, "%llu", out) == 1;
}

static void open_files(struct report *r)
{
    struct rlimit limit;
    char soft[32], hard[32], each[32];
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return;
    struct finding *f = add(r, "open files", limit.rlim_max < 65536 ? FINDING_WARN : FINDING_OK);
    uint64_t most = limit.rlim_max > 64 ? limit.rlim_max - 64 : 0;
    snprintf(f->value, sizeof(f->value), "soft %s, hard %s: about %s devices a shard",
             count_format(limit.rlim_cur, soft, sizeof(soft)), count_format(limit.rlim_max, hard, sizeof(hard)),
             count_format(most, each, sizeof(each)));
    if (f->grade != FINDING_OK)
        snprintf(f->remedy, sizeof(f->remedy),
                 "echo '* hard nofile 1048576' > /etc/security/limits.d/iotix.conf   (systemd: LimitNOFILE=1048576)");
}

static void system_files(struct report *r)
{
    unsigned long long n;
    char text[32];
    if (read_number(r, "/proc/sys/fs/file-max", &n)) {
        struct finding *f = add(r, "files of the system", n < 200000 ? FINDING_WARN : FINDING_OK);
        snprintf(f->value, sizeof(f->value), "%s", n > 1ull << 50 ? "no limit" : count_format(n, text, sizeof(text)));
        if (f->grade != FINDING_OK)
            snprintf(f->remedy, sizeof(f->remedy), "sysctl -w fs.file-max=2097152");
    }
}

static void ports(struct report *r)
{
    char line[64], text[32];
    unsigned low, high;
    if (!read_line(r, "/proc/sys/net/ipv4/ip_local_port_range", line, sizeof(line)) ||
        sscanf(line, "%u %u", &low, &high) != 2 || high < low)
        return;
    unsigned n = high - low + 1;
    struct finding *f = add(r, "source ports", n < 50000 ? FINDING_NOTE : FINDING_OK);
    snprintf(f->value, sizeof(f->value), "%u to %u: %s connections from one address to one broker", low, high,
             count_format(n, text, sizeof(text)));
    if (f->grade != FINDING_OK)
        snprintf(f->remedy, sizeof(f->remedy), "sysctl -w net.ipv4.ip_local_port_range='1024 65535'");
}

static void backlog(struct report *r)
{
    unsigned long long n;
    if (!read_number(r, "/proc/sys/net/core/somaxconn", &n))
        return;
    struct finding *f = add(r, "listen backlog", n < 4096 ? FINDING_NOTE : FINDING_OK);
    snprintf(f->value, sizeof(f->value), "somaxconn %llu (matters where the broker runs)", n);
    if (f->grade != FINDING_OK)
        snprintf(f->remedy, sizeof(f->remedy), "sysctl -w net.core.somaxconn=4096");
}

static void tcp_memory(struct report *r)
{
    char line[128], text[32];
    unsigned long long low, pressure, high;
    if (!read_line(r, "/proc/sys/net/ipv4/tcp_mem", line, sizeof(line)) ||
        sscanf(line, "%llu %llu %llu", &low, &pressure, &high) != 3)
        return;
    double bytes = (double)high * (double)sysconf(_SC_PAGESIZE);
    // About 4.8 KB of kernel memory a socket end.
    struct finding *f = add(r, "tcp memory", bytes < 100000 * 4800.0 ? FINDING_NOTE : FINDING_OK);
    snprintf(f->value, sizeof(f->value), "%s at most", size_format(bytes, text, sizeof(text)));
    if (f->grade != FINDING_OK)
        snprintf(f->remedy, sizeof(f->remedy), "sysctl -w net.ipv4.tcp_mem='131072 196608 262144'");
}

static void conntrack(struct report *r)
{
    unsigned long long max, count = 0;
    char a[32], b[32];
    if (!read_number(r, "/proc/sys/net/netfilter/nf_conntrack_max", &max))
        return;
    if (!read_number(r, "/proc/sys/net/netfilter/nf_conntrack_count", &count))
        count = 0;
    struct finding *f = add(r, "conntrack", max < 262144 || count > max / 2 ? FINDING_WARN : FINDING_OK);
    snprintf(f->value, sizeof(f->value), "%s of %s in use: the firewall counts every connection",
             count_format(count, a, sizeof(a)), count_format(max, b, sizeof(b)));
    if (f->grade != FINDING_OK)
        snprintf(f->remedy, sizeof(f->remedy), "sysctl -w net.netfilter.nf_conntrack_max=1048576");
}

static void clock_source(struct report *r)
{
    char line[64];
    if (!read_line(r, "/sys/devices/system/clocksource/clocksource0/current_clocksource", line, sizeof(line)))
        return;
    static const char *const cheap[] = {"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"};
    bool ok = false;
    for (size_t i = 0; i < sizeof(cheap) / sizeof(cheap[0]); i++)
        ok |= strcmp(cheap[i], line) == 0;
    struct finding *f = add(r, "clock source", ok ? FINDING_OK : FINDING_NOTE);
    snprintf(f->value, sizeof(f->value), "%s%s", line, ok ? "" : ": every timestamp is a system call");
}

static void cores(struct report *r)
{
    char line[64];
    unsigned long long quota, period;
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    struct finding *f = add(r, "cores", FINDING_OK);
    snprintf(f->value, sizeof(f->value), "%ld", n);
    if (read_line(r, "/sys/fs/cgroup/cpu.max", line, sizeof(line)) && sscanf(line, "%llu %llu", &quota, &period) == 2 &&
        period > 0) {
        snprintf(f->value, sizeof(f->value), "%ld, of which the container may use %.1f", n,
                 (double)quota / (double)period);
        f->grade = (double)quota / (double)period < 1 ? FINDING_WARN : FINDING_OK;
    }
}

static unsigned long long mem_available(const struct report *r)
{
    char full[512], line[128];
    unsigned long long kb = 0;
    snprintf(full, sizeof(full), "%s/proc/meminfo", r->root);
    FILE *f = fopen(full, "re");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "MemAvailable: %llu", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb * 1024;
}

static void memory(struct report *r)
{
    unsigned long long available = mem_available(r), cap;
    char a[32], b[32];
    if (available == 0)
        return;
    struct finding *f = add(r, "memory", available < 512ull << 20 ? FINDING_WARN : FINDING_OK);
    snprintf(f->value, sizeof(f->value), "%s available", size_format((double)available, a, sizeof(a)));
    if (read_number(r, "/sys/fs/cgroup/memory.max", &cap))
        snprintf(f->value, sizeof(f->value), "%s available, the container may use %s",
                 size_format((double)available, a, sizeof(a)), size_format((double)cap, b, sizeof(b)));
}

static bool find_program(const char *name, char *dst, size_t size)
{
    const char *path = getenv("PATH");
    char dirs[8192];
    snprintf(dirs, sizeof(dirs), "%s:/usr/sbin:/usr/local/sbin", path ? path : "");
    for (char *save = NULL, *dir = strtok_r(dirs, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
        if ((size_t)snprintf(dst, size, "%s/%s", dir, name) < size && access(dst, X_OK) == 0)
            return true;
    }
    return false;
}

static void mosquitto(struct report *r)
{
    char path[512];
    bool found = find_program("mosquitto", path, sizeof(path));
    struct finding *f = add(r, "embedded broker", found ? FINDING_OK : FINDING_WARN);
    snprintf(f->value, sizeof(f->value), "%.150s", found ? path : "mosquitto is not installed");
    if (!found)
        snprintf(f->remedy, sizeof(f->remedy), "apt-get install mosquitto");
}

unsigned doctor_examine(const char *root, struct finding out[FINDINGS_MAX])
{
    struct report r = {.root = root, .out = out};
    open_files(&r);
    system_files(&r);
    ports(&r);
    backlog(&r);
    tcp_memory(&r);
    conntrack(&r);
    clock_source(&r);
    cores(&r);
    memory(&r);
    mosquitto(&r);
    return r.n;
}

int doctor_render(struct buf *out, const struct style *style, const struct finding *findings, unsigned n)
{
    static const enum tint tints[] = {GREEN, YELLOW, RED};
    static const char *const marks[] = {"✓", "·", "✗"};
    struct style whole = *style;
    whole.width = 0; // the remedies are for copying
    struct line l;
    bool any = false;
    line_begin(&l, out, &whole);
    for (unsigned i = 0; i < n; i++) {
        const struct finding *f = &findings[i];
        line_put(&l, PLAIN, "  ");
        line_put(&l, tints[f->grade], marks[f->grade]);
        line_put(&l, PLAIN, " ");
        line_cell(&l, PLAIN, f->name, 20, false);
        line_put(&l, PLAIN, f->value);
        line_end(&l);
        any |= f->remedy[0] != '\0';
    }
    if (any) {
        line_end(&l);
        line_put(&l, BOLD, "  To raise what is low (as root; sysctl settings last in a file of /etc/sysctl.d):");
        line_end(&l);
    }
    for (unsigned i = 0; i < n; i++) {
        if (!findings[i].remedy[0])
            continue;
        line_printf(&l, PLAIN, "    %s", findings[i].remedy);
        line_end(&l);
    }
    return l.failed ? -1 : 0;
}

static json_t *findings_json(const struct finding *f, unsigned n)
{
    static const char *const grades[] = {"ok", "note", "warn"};
    json_t *array = json_array();
    for (unsigned i = 0; i < n; i++)
        json_array_append_new(array, json_pack("{ss ss ss ss}", "name", f[i].name, "value", f[i].value, "grade",
                                               grades[f[i].grade], "remedy", f[i].remedy));
    return array;
}

int command_doctor(struct session *s)
{
    struct finding findings[FINDINGS_MAX];
    unsigned n = doctor_examine("", findings);
    if (option_given(&s->options, OPT_FORMAT) && s->options.of[OPT_FORMAT].count == 1)
        return launch_print_json(s, findings_json(findings, n));
    struct buf b;
    buf_create(&b, 65536);
    int rc = doctor_render(&b, &s->terminal.out, findings, n) ? EXIT_MACHINE : print_result(s, b.data, b.len);
    buf_destroy(&b);
    return rc;
}
