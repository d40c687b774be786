// iotix.link: streams and datagrams for behaviours and for adapters in Lua, over flows (adapter/flow.h).
//
// A link belongs to the owner of the task that opened it, and is closed when that owner ends. What comes is kept until
// it is read, at most LINK_BUFFER_MAX bytes: a stream with more unread is closed (ERR_LIMIT), datagrams that do not fit
// are dropped, as a kernel does.
#pragma once
#include <lua.h>
#include "adapter/adapter.h"
#include "script/task.h"

#define LINK_BUFFER_MAX (1u << 20)
#define LINK_LINE_MAX (64u << 10)
#define LINKS_OWNER_MAX 16u // open links of one owner
#define LINK_ENDPOINTS_MAX 256u

struct scenario;
struct lua_links; // of a scenario

// native.link_open, link_wait and adapter_dial into the table at the top of the stack.
void link_bindings_open(lua_State *L, struct scenario *s);
// Closes what the owner has open, whose tasks have been cancelled; flush: what was written goes out first. paused: they
// neither read nor write.
void links_owner_ended(struct scenario *s, const struct task_owner *owner, bool flush);
void links_owner_pause(struct scenario *s, const struct task_owner *owner, bool paused);
void links_delete(struct lua_links *links);
