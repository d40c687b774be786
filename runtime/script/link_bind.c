// A handle holds the id of its link; whoever is blocked on a link is one task, which its events wake when what it waits
// for is there. What a reader gets is taken out of the buffer right before it is resumed.
#include "script/link_bind.h"

#include <stdlib.h>
#include <string.h>

#include "adapter/flow.h"
#include "core/jsonx.h"
#include "device/impair.h"
#include "script/adapter_lua.h"
#include "script/internal.h"

enum want { WANT_NOTHING, WANT_OPEN, WANT_BYTES, WANT_ANY, WANT_LINE, WANT_DATAGRAM, WANT_WRITTEN };

struct link_endpoint { // endpoints are shared by links of equal options
    struct link_endpoint *next;
    struct endpoint *endpoint;
    unsigned users;
    char key[];
};

struct waiter { // one that reads and one that writes may wait at a time
    slot_id task;
    uint32_t n;
    uint8_t want;
};

struct lua_link {
    struct lua_link *next, **prev;         // of the scenario
    struct lua_link *next_own, **prev_own; // of the owner
    struct scenario *scenario;
    const struct task_owner *owner;
    struct link_endpoint *at;
    struct flow *flow;
    slot_id id;
    struct waiter reads, writes;
    const struct iotix_series *series; // of an adapter, whose bytes are counted; else NULL
    struct device *device;
    struct buf in;     // datagrams: a length of 4 bytes in front of each
    uint32_t taken;    // of in
    uint32_t searched; // of in, behind taken: holds no line feed
    bool datagram, ended;
    bool full;            // enough lies here unread
    struct error why;     // ended, or (datagrams) of the last error
    bool has_error;       // of a datagram socket, not told yet
    char *credentials[5]; // cert, key, name, psk identity, psk key; NULL: the device's
};

struct lua_links {
    struct lua_link *first;
    struct slots *slots;
    struct link_endpoint *endpoints;
    unsigned n_endpoints;
    int meta; // registry reference
};

struct handle_link {
    uint32_t tag;
    slot_id id;
};

static struct lua_link *find(struct scenario *s, slot_id id)
{
    return s->links ? slots_get(s->links->slots, id) : NULL;
}

static struct scenario *scenario_in(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "iotix.scenario");
    struct scenario *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return s;
}

// --- what is there to be read

static uint32_t unread(const struct lua_link *l)
{
    return l->in.len - l->taken;
}

// A device that does not read costs LINK_UNREAD bytes, not what its server likes to send: then the socket is not read
// either, and TCP stalls the server. Who wants more at once gets as much.
static void hold(struct lua_link *l)
{
    uint32_t want = l->reads.want == WANT_BYTES ? l->reads.n : 0, most = want > LINK_UNREAD ? want : LINK_UNREAD;
    bool full = unread(l) >= want && unread(l) >= (l->full ? most / 2 : most);
    if (l->datagram || l->ended || full == l->full)
        return;
    l->full = full;
    flow_hold(l->flow, full);
}

static void take(struct lua_link *l, uint32_t n)
{
    l->taken += n;
    l->searched = 0;
    if (l->taken == l->in.len) {
        buf_clear(&l->in);
        l->taken = 0;
        if (l->in.size > 65536)
            buf_destroy(&l->in);
    }
    hold(l);
}

static int push_failure(lua_State *L, const struct error *why)
{
    lua_pushnil(L);
    lua_pushstring(L, why->text);
    lua_pushstring(L, error_code_name(why->code));
    return 3;
}

// Length of the line that is there without its line feed, or -1.
static int64_t line_length(struct lua_link *l)
{
    const uint8_t *from = l->in.data + l->taken;
    uint32_t n = unread(l);
    const uint8_t *end = n > l->searched ? memchr(from + l->searched, '\n', n - l->searched) : NULL;
    if (!end)
        l->searched = n;
    return end ? end - from : -1;
}

static bool line_too_long(struct lua_link *l)
{
    int64_t n = line_length(l);
    return n > (int64_t)LINK_LINE_MAX || (n < 0 && unread(l) > LINK_LINE_MAX);
}

// Whether what is wanted can be answered now.
static bool answerable(struct lua_link *l, const struct waiter *w)
{
    if (l->ended)
        return true;
    switch ((enum want)w->want) {
    case WANT_OPEN:
        return flow_is_open(l->flow);
    case WANT_BYTES:
        return unread(l) >= w->n;
    case WANT_ANY:
        return unread(l) > 0;
    case WANT_LINE:
        return line_length(l) >= 0 || line_too_long(l);
    case WANT_DATAGRAM:
        return unread(l) > 0 || l->has_error;
    case WANT_WRITTEN:
        return flow_unsent(l->flow) == 0;
    case WANT_NOTHING:
        break;
    }
    return false;
}

static int push_line(lua_State *L, struct lua_link *l)
{
    int64_t n = line_length(l);
    struct error why;
    if (line_too_long(l)) {
        error_set(&why, ERR_LIMIT, "a line of more than %u bytes", LINK_LINE_MAX);
        return push_failure(L, &why);
    }
    if (n < 0)
        return push_failure(L, &l->why);
    const char *from = (const char *)l->in.data + l->taken;
    lua_pushlstring(L, from, (size_t)(n && from[n - 1] == '\r' ? n - 1 : n));
    take(l, (uint32_t)n + 1);
    return 1;
}

static int push_datagram(lua_State *L, struct lua_link *l)
{
    uint32_t n;
    if (unread(l)) {
        memcpy(&n, l->in.data + l->taken, sizeof n);
        lua_pushlstring(L, (const char *)l->in.data + l->taken + sizeof n, n);
        take(l, (uint32_t)sizeof n + n);
        return 1;
    }
    l->has_error = false;
    return push_failure(L, &l->why);
}

static int push_bytes(lua_State *L, struct lua_link *l, uint32_t n)
{
    if (!n || unread(l) < n)
        return push_failure(L, &l->why);
    lua_pushlstring(L, (const char *)l->in.data + l->taken, n);
    take(l, n);
    return 1;
}

static int push_answer(lua_State *L, struct lua_link *l, const struct waiter *w)
{
    switch ((enum want)w->want) {
    case WANT_BYTES:
        return push_bytes(L, l, w->n);
    case WANT_ANY:
        return push_bytes(L, l, unread(l));
    case WANT_LINE:
        return push_line(L, l);
    case WANT_DATAGRAM:
        return push_datagram(L, l);
    case WANT_OPEN:
    case WANT_WRITTEN:
    case WANT_NOTHING:
        break;
    }
    if (l->ended)
        return push_failure(L, &l->why);
    lua_pushboolean(L, 1);
    return 1;
}

static int push_later(lua_State *L, void *arg, bool writer)
{
    struct lua_link *l = find(scenario_in(L), (slot_id)(uintptr_t)arg);
    if (l) {
        struct waiter *at = writer ? &l->writes : &l->reads, w = *at;
        at->want = WANT_NOTHING;
        return push_answer(L, l, &w);
    }
    lua_pushnil(L);
    lua_pushliteral(L, "the link was closed");
    lua_pushstring(L, error_code_name(ERR_CANCELLED));
    return 3;
}

// Right before the resume. The link may be gone by then.
static int push_read(lua_State *L, void *arg)
{
    return push_later(L, arg, false);
}

static int push_written(lua_State *L, void *arg)
{
    return push_later(L, arg, true);
}

// always: whatever there is to say.
static void wake(struct lua_link *l, struct waiter *w, bool always)
{
    struct task *t = w->want != WANT_NOTHING && w->task ? task_find(l->scenario->tasks, w->task) : NULL;
    if (!t || !(always || answerable(l, w)))
        return;
    loop_timer_stop(l->scenario->config.loop, task_timer(t));
    w->task = 0;
    task_wake(t, w == &l->writes ? push_written : push_read, (void *)(uintptr_t)l->id);
}

static void look(struct lua_link *l)
{
    wake(l, &l->reads, false);
    wake(l, &l->writes, false);
}

// --- events of the flow

static void on_open(void *owner)
{
    look(owner);
}

static void ended(struct lua_link *l, const struct error *why)
{
    l->ended = true;
    l->why = *why;
    look(l);
}

static void on_data(void *owner, const uint8_t *bytes, size_t n)
{
    struct lua_link *l = owner;
    if (l->series)
        counter_add(l->series->bytes_received, n);
    if (l->taken && l->in.size - l->in.len < n + sizeof(uint32_t)) {
        buf_consume(&l->in, l->taken);
        l->taken = 0;
    }
    if (l->datagram) {
        uint32_t head = (uint32_t)n;
        if (unread(l) + sizeof head + n > LINK_DATAGRAMS || !buf_reserve(&l->in, (uint32_t)(sizeof head + n)))
            return; // nobody reads them
        if (buf_append(&l->in, &head, sizeof head) || (n && buf_append(&l->in, bytes, n)))
            return;
    } else if (buf_append(&l->in, bytes, n)) {
        struct error why;
        error_set(&why, ERR_LIMIT, "%u bytes wait unread and more came: the link was closed", unread(l));
        flow_close(l->flow, false);
        ended(l, &why);
        return;
    }
    look(l);
    hold(l);
}

static void on_drain(void *owner)
{
    look(owner);
}

static void on_close(void *owner, const struct error *why)
{
    ended(owner, why);
}

static void on_error(void *owner, const struct error *why)
{
    struct lua_link *l = owner;
    l->why = *why;
    l->has_error = true;
    look(l);
}

static const struct iotix_flow_events flow_events = {on_open, on_data, on_drain, on_close, on_error};

// --- opening and closing

static int field(void *owner, enum adapter_field what, struct buf *out, struct error *err)
{
    static const enum adapter_field fields[] = {FIELD_TLS_CERT, FIELD_TLS_KEY, FIELD_TLS_NAME, FIELD_PSK_IDENTITY,
                                                FIELD_PSK_KEY};
    struct lua_link *l = owner;
    bool own = false;
    for (unsigned i = 0; i < 5; i++)
        own |= l->credentials[i] != NULL;
    for (unsigned i = 0; own && i < 5; i++)
        if (fields[i] == what)
            return l->credentials[i] && buf_append_str(out, l->credentials[i])
                       ? error_set(err, ERR_LIMIT, "the credentials are too long")
                       : 0;
    if (l->owner->kind == OWNER_ADAPTER)
        return adapter_lua_field(l->owner, what, out, err);
    return l->device ? device_field(l->device, what, out, err) : 0;
}

static const struct adapter_identity identity = {field};

static void link_free(struct lua_link *l)
{
    struct lua_links *links = l->scenario->links;
    flow_delete(l->flow);
    if (l->at)
        l->at->users--;
    slots_remove(links->slots, l->id);
    *l->prev = l->next;
    if (l->next)
        l->next->prev = l->prev;
    *l->prev_own = l->next_own;
    if (l->next_own)
        l->next_own->prev_own = l->prev_own;
    buf_destroy(&l->in);
    for (unsigned i = 0; i < 5; i++) {
        if (l->credentials[i])
            explicit_bzero(l->credentials[i], strlen(l->credentials[i]));
        free(l->credentials[i]);
    }
    free(l);
}

static void endpoint_forget(struct lua_links *links, struct link_endpoint **at)
{
    struct link_endpoint *e = *at;
    *at = e->next;
    endpoint_delete(e->endpoint);
    free(e);
    links->n_endpoints--;
}

static struct link_endpoint *endpoint_find(struct scenario *s, const struct iotix_endpoint *config, const char *key,
                                           struct error *err)
{
    struct lua_links *links = s->links;
    struct link_endpoint **at = &links->endpoints, **unused = NULL;
    for (; *at; at = &(*at)->next) {
        if (strcmp((*at)->key, key) == 0)
            return *at;
        if (!(*at)->users)
            unused = at;
    }
    if (links->n_endpoints == LINK_ENDPOINTS_MAX) {
        if (!unused) {
            error_set(err, ERR_LIMIT, "links to %u servers, or with as many different options, are open already",
                      LINK_ENDPOINTS_MAX);
            return NULL;
        }
        endpoint_forget(links, unused);
    }
    size_t n = strlen(key) + 1;
    struct link_endpoint *e = malloc(sizeof *e + n);
    if (!e) {
        error_set(err, ERR_NO_MEMORY, "no memory for a link");
        return NULL;
    }
    e->endpoint = endpoint_new(fleet_env(s->fleet), config, err);
    if (!e->endpoint) {
        free(e);
        return NULL;
    }
    memcpy(e->key, key, n);
    e->users = 0;
    e->next = links->endpoints;
    links->endpoints = e;
    links->n_endpoints++;
    return e;
}

static unsigned count_of(const struct task_owner *owner)
{
    unsigned n = 0;
    for (const struct lua_link *l = owner->links; l; l = l->next_own)
        n++;
    return n;
}

static struct path *path_of(const struct lua_link *l)
{
    if (l->owner->kind == OWNER_ADAPTER)
        return adapter_lua_path(l->owner);
    return l->device ? device_path(l->device) : NULL;
}

// at: NULL: the endpoint is an adapter's.
static struct lua_link *link_new(struct scenario *s, struct endpoint *endpoint, struct link_endpoint *at, bool datagram,
                                 struct error *err)
{
    struct task_owner *owner = task_owner(task_running(s->tasks));
    struct lua_link *l = calloc(1, sizeof *l);
    if (!l) {
        error_set(err, ERR_NO_MEMORY, "no memory for a link");
        return NULL;
    }
    l->scenario = s;
    l->owner = owner;
    l->device = scenario_device(s);
    l->datagram = datagram;
    buf_create(&l->in, LINK_BUFFER_MAX);
    l->flow = flow_new(endpoint, &flow_events, l, &identity, l, err);
    l->id = l->flow ? slots_add(s->links->slots, l) : 0;
    if (!l->id) {
        if (l->flow)
            error_set(err, ERR_LIMIT, "too many links are open");
        flow_delete(l->flow);
        free(l);
        return NULL;
    }
    l->at = at;
    if (at)
        at->users++;
    l->next = s->links->first;
    l->prev = &s->links->first;
    if (l->next)
        l->next->prev = &l->next;
    s->links->first = l;
    l->next_own = owner->links;
    l->prev_own = &owner->links;
    if (l->next_own)
        l->next_own->prev_own = &l->next_own;
    owner->links = l;
    flow_path(l->flow, path_of(l));
    return l;
}

void links_owner_ended(const struct task_owner *owner, bool flush)
{
    for (struct lua_link *l; (l = owner->links);) {
        if (flush)
            flow_close(l->flow, true);
        link_free(l);
    }
}

void links_owner_pause(const struct task_owner *owner, bool paused)
{
    for (struct lua_link *l = owner->links; l; l = l->next_own)
        flow_pause(l->flow, paused);
}

void links_owner_path(const struct task_owner *owner, struct path *path)
{
    for (struct lua_link *l = owner->links; l; l = l->next_own)
        flow_path(l->flow, path);
}

void links_delete(struct lua_links *links)
{
    if (!links)
        return;
    while (links->first)
        link_free(links->first);
    while (links->endpoints)
        endpoint_forget(links, &links->endpoints);
    slots_delete(links->slots);
    free(links);
}

// --- blocking

static struct waiter *waiter_of(struct lua_link *l, const struct task *t)
{
    return l->writes.task == task_id(t) ? &l->writes : &l->reads;
}

// Whoever waits is let go of before a link is freed, so the pointer holds.
static void wait_cancel(struct task *task, void *arg)
{
    struct lua_link *l = *task_local(task);
    loop_timer_stop(((struct scenario *)arg)->config.loop, task_timer(task));
    *waiter_of(l, task) = (struct waiter){0};
}

static void wait_timeout(struct timer *timer, void *loop)
{
    (void)loop;
    struct task *t = task_of_timer(timer);
    struct lua_link *l = *task_local(t);
    struct waiter *w = waiter_of(l, t);
    struct error why;
    error_set(&why, ERR_TIMEOUT,
              w->want == WANT_WRITTEN ? "not everything was written in time" : "nothing came in time");
    *w = (struct waiter){0};
    task_wake_error(t, &why);
}

// Answers at once when it can, or blocks. timeout_us < 0: for ever.
static int wait_for(lua_State *L, struct scenario *s, struct lua_link *l, enum want want, uint32_t n,
                    int64_t timeout_us, const char *name)
{
    struct task *t = task_current(s->tasks, L, name);
    struct waiter *at = want == WANT_WRITTEN ? &l->writes : &l->reads, w = {task_id(t), n, (uint8_t)want};
    if (at->want != WANT_NOTHING)
        return luaL_error(L, "%s: another task waits at this link already", name);
    if (answerable(l, &w))
        return push_answer(L, l, &w);
    *at = w;
    hold(l);
    *task_local(t) = l;
    if (timeout_us >= 0)
        loop_timer_start(s->config.loop, task_timer(t), timeout_us, wait_timeout);
    task_block(t, wait_cancel, s);
    return task_yield(L);
}

// --- bindings

static struct lua_link *check_link(lua_State *L, struct scenario *s, const char *name)
{
    struct handle_link *h = lua_type(L, 1) == LUA_TUSERDATA ? lua_touserdata(L, 1) : NULL;
    if (!h || h->tag != HANDLE_LINK)
        luaL_error(L, "%s: expected a link; call it with a colon, link:read()", name);
    struct lua_link *l = find(s, h->id);
    struct task *t = task_running(s->tasks);
    if (l && (!t || task_owner(t) != l->owner))
        luaL_error(L, "%s: this is the link of another device", name);
    return l;
}

static int closed(lua_State *L)
{
    lua_pushnil(L);
    lua_pushliteral(L, "the link is closed");
    lua_pushstring(L, error_code_name(ERR_CLOSED));
    return 3;
}

static int64_t opt_timeout(lua_State *L, int arg, const char *name)
{
    return lua_isnoneornil(L, arg) ? -1 : bind_duration(L, arg, name);
}

// link:read(n?, timeout?)
static int read_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct lua_link *l = check_link(L, s, "link:read");
    bool any = lua_isnoneornil(L, 2);
    double n = any ? 0 : luaL_checknumber(L, 2);
    int64_t timeout_us = opt_timeout(L, 3, "link:read");
    if (!any && !(n >= 1 && n <= LINK_BUFFER_MAX))
        return luaL_error(L, "link:read: expected 1 to %d bytes", (int)LINK_BUFFER_MAX);
    if (!l)
        return closed(L);
    if (l->datagram)
        return luaL_error(L, "link:read: it has datagrams; use receive");
    return wait_for(L, s, l, any ? WANT_ANY : WANT_BYTES, (uint32_t)n, timeout_us, "link:read");
}

// link:read_line(timeout?)
static int read_line_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct lua_link *l = check_link(L, s, "link:read_line");
    int64_t timeout_us = opt_timeout(L, 2, "link:read_line");
    if (!l)
        return closed(L);
    if (l->datagram)
        return luaL_error(L, "link:read_line: it has datagrams; use receive");
    return wait_for(L, s, l, WANT_LINE, 0, timeout_us, "link:read_line");
}

// link:receive(timeout?)
static int receive_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct lua_link *l = check_link(L, s, "link:receive");
    int64_t timeout_us = opt_timeout(L, 2, "link:receive");
    if (!l)
        return closed(L);
    if (!l->datagram)
        return luaL_error(L, "link:receive: it is a stream; use read or read_line");
    return wait_for(L, s, l, WANT_DATAGRAM, 0, timeout_us, "link:receive");
}

// link:write(text), link:send(text): queued for the end of the turn
static int write_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct lua_link *l = check_link(L, s, "link:write");
    size_t n;
    const char *text = luaL_checklstring(L, 2, &n);
    struct error err;
    if (!l)
        return closed(L);
    if (l->ended)
        return push_failure(L, &l->why);
    if (flow_send(l->flow, text, n, &err))
        return bind_fail(L, &err);
    if (l->series)
        counter_add(l->series->bytes_sent, n);
    lua_pushboolean(L, 1);
    return 1;
}

// link:flush(timeout?): until everything is written
static int flush_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct lua_link *l = check_link(L, s, "link:flush");
    int64_t timeout_us = opt_timeout(L, 2, "link:flush");
    if (!l)
        return closed(L);
    if (l->datagram)
        return luaL_error(L, "link:flush: datagrams are not waited for");
    return wait_for(L, s, l, WANT_WRITTEN, 0, timeout_us, "link:flush");
}

static int close_bind(lua_State *L)
{
    struct lua_link *l = check_link(L, scenario_of(L), "link:close");
    if (!l)
        return 0;
    wake(l, &l->reads, true); // other tasks of the same owner
    wake(l, &l->writes, true);
    flow_close(l->flow, true);
    link_free(l);
    return 0;
}

static char *copy_field(lua_State *L, int table, const char *key)
{
    lua_getfield(L, table, key);
    const char *text = lua_tostring(L, -1);
    char *copy = text ? strdup(text) : NULL;
    lua_pop(L, 1);
    return copy;
}

static struct lua_links *links_of(struct scenario *s)
{
    if (s->links)
        return s->links;
    struct lua_links *links = calloc(1, sizeof *links);
    if (links && !(links->slots = slots_new(1000000))) {
        free(links);
        links = NULL;
    }
    return s->links = links;
}

// Pushes a handle that has no link yet; raises. Room for one more is checked: false, err.
static struct handle_link *handle_push(lua_State *L, struct scenario *s, const char *name, struct error *err)
{
    struct task *t = task_current(s->tasks, L, name);
    if (!s->fleet)
        luaL_error(L, "%s works in the behaviour of a device or in an adapter, not in a test", name);
    if (!links_of(s))
        luaL_error(L, "out of memory");
    if (s->links->meta == 0) {
        lua_getfield(L, LUA_REGISTRYINDEX, "iotix.link");
        s->links->meta = guard_ref(L);
    }
    if (count_of(task_owner(t)) >= LINKS_OWNER_MAX) {
        error_set(err, ERR_LIMIT, "%u links are open already", LINKS_OWNER_MAX);
        return NULL;
    }
    struct handle_link *h = lua_newuserdata(L, sizeof *h);
    *h = (struct handle_link){HANDLE_LINK, 0};
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->links->meta);
    lua_setmetatable(L, -2);
    return h;
}

static int begin(lua_State *L, struct handle_link *h, struct lua_link *l, struct error *err)
{
    h->id = l->id;
    if (flow_open(l->flow, err) == 0)
        return 1;
    link_free(l);
    return bind_fail(L, err);
}

// native.link_open(name, host, port, datagram, options, key, credentials): options: what endpoints read, as a table;
// key: the same as text; credentials: { cert, key, name, psk_identity, psk_key } → link | nil, message, code
static int open_bind(lua_State *L)
{
    static const char *const fields[] = {"cert", "key", "name", "psk_identity", "psk_key"};
    struct scenario *s = scenario_of(L);
    const char *name = luaL_checkstring(L, 1), *key = luaL_checkstring(L, 6);
    struct iotix_endpoint config = {.size = sizeof config,
                                    .host = luaL_checkstring(L, 2),
                                    .port = (uint16_t)luaL_checkint(L, 3),
                                    .datagram = lua_toboolean(L, 4),
                                    .seed = s->seed};
    struct error err = {0};
    struct handle_link *h = handle_push(L, s, name, &err);
    json_t *options = h ? json_from_lua(L, 5, &err) : NULL;
    if (!options)
        return bind_fail(L, &err);
    config.options = options;
    struct link_endpoint *at = endpoint_find(s, &config, key, &err);
    json_decref(options);
    struct lua_link *l = at ? link_new(s, at->endpoint, at, config.datagram, &err) : NULL;
    if (!l)
        return bind_fail(L, &err);
    for (unsigned i = 0; lua_istable(L, 7) && i < 5; i++)
        l->credentials[i] = copy_field(L, 7, fields[i]);
    return begin(L, h, l, &err);
}

// native.adapter_dial(conn, datagram): to where the URL of an adapter's connection says → link | nil, message, code
static int dial_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct error err = {0};
    bool datagram = lua_toboolean(L, 2);
    struct endpoint *endpoint = adapter_lua_endpoint(L, s, datagram, &err);
    struct handle_link *h = endpoint ? handle_push(L, s, "conn:dial", &err) : NULL;
    struct lua_link *l = h ? link_new(s, endpoint, NULL, datagram, &err) : NULL;
    if (l)
        l->series = adapter_lua_series(l->owner);
    return l ? begin(L, h, l, &err) : bind_fail(L, &err);
}

// native.link_wait(link, name): until it is open → true | nil, message, code
static int opened_bind(lua_State *L)
{
    struct scenario *s = scenario_of(L);
    struct lua_link *l = check_link(L, s, luaL_checkstring(L, 2));
    return l ? wait_for(L, s, l, WANT_OPEN, 0, -1, lua_tostring(L, 2)) : closed(L);
}

void link_bindings_open(lua_State *L, struct scenario *s)
{
    static const luaL_Reg methods[] = {
        {"read", read_bind},  {"read_line", read_line_bind}, {"receive", receive_bind}, {"write", write_bind},
        {"send", write_bind}, {"flush", flush_bind},         {"close", close_bind},     {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"link_open", open_bind}, {"link_wait", opened_bind}, {"adapter_dial", dial_bind}, {NULL, NULL}};
    bind_functions(L, s, functions);
    bind_metatable(L, s, NULL, methods);
    lua_setfield(L, LUA_REGISTRYINDEX, "iotix.link");
}
