// What the tests of data files share: a directory of their own, files in it, datasets opened from it.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "telemetry/dataset.h"

struct place {
    char dir[64];
    struct datasets *all;
    struct scratch scratch;
};

static inline int place_setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    assert_non_null(p);
    snprintf(p->dir, sizeof p->dir, "/tmp/iotix-test-data-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    p->all = datasets_new();
    scratch_create(&p->scratch, 4u << 20);
    *state = p;
    return 0;
}

static inline int place_teardown(void **state)
{
    struct place *p = *state;
    DIR *d = opendir(p->dir);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            assert_int_equal(unlinkat(dirfd(d), e->d_name, e->d_type == DT_DIR ? AT_REMOVEDIR : 0), 0);
    closedir(d);
    rmdir(p->dir);
    datasets_delete(p->all);
    scratch_destroy(&p->scratch);
    free(p);
    return 0;
}

static inline void put_bytes(const struct place *p, const char *name, const void *bytes, size_t n)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void put(const struct place *p, const char *name, const char *text)
{
    put_bytes(p, name, text, strlen(text));
}

static inline struct dataset *open_with(struct place *p, const char *name, const struct dataset_options *options,
                                        struct error *err)
{
    const char *dirs[] = {"/nonexistent", p->dir};
    error_clear(err);
    return dataset_open(p->all, name, dirs, 2, options, err);
}

static inline struct dataset *open_ok(struct place *p, const char *name)
{
    struct error err;
    struct dataset *ds = open_with(p, name, NULL, &err);
    if (!ds)
        fail_msg("%s: %s", name, err.text);
    return ds;
}

// A value as text, so that tests can compare it: n:1.5 i:7 b:true s:text x:bytes j:{…} null
static inline const char *show(const struct value *v)
{
    static char text[4][256];
    static unsigned turn;
    char *to = text[turn++ % 4];
    switch (v->type) {
    case VALUE_NUMBER:
        snprintf(to, 256, "n:%.15g", v->number);
        break;
    case VALUE_INTEGER:
        snprintf(to, 256, "i:%lld", (long long)v->integer);
        break;
    case VALUE_BOOLEAN:
        snprintf(to, 256, "b:%s", v->boolean ? "true" : "false");
        break;
    case VALUE_STRING:
    case VALUE_BINARY:
    case VALUE_JSON:
        snprintf(to, 256, "%c:%.*s",
                 v->type == VALUE_STRING ? 's'
                 : v->type == VALUE_JSON ? 'j'
                                         : 'x',
                 (int)v->str.n, v->str.s);
        break;
    default:
        snprintf(to, 256, "null");
    }
    return to;
}
