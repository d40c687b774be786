// iotix.link: streams and datagrams for behaviours and for adapters in Lua, over flows (adapter/flow.h).
//
// A link belongs to the owner of the task that opened it, and is closed when that owner ends. What comes is kept until
// it is read: beyond LINK_UNREAD bytes a stream is not read any more, and TCP stalls whoever sends; of datagrams at
// most LINK_DATAGRAMS bytes, the rest is dropped, as a kernel does. Who asks for more at once (up to LINK_BUFFER_MAX)
// gets it.
#pragma once
#include <lua.h>
#include "adapter/adapter.h"
#include "script/task.h"

#define LINK_BUFFER_MAX (1u << 20)
#define LINK_LINE_MAX (64u << 10)
#define LINK_UNREAD (128u << 10) // more than a line
#define LINK_DATAGRAMS (256u << 10)
#define LINKS_OWNER_MAX 16u // open links of one owner
#define LINK_ENDPOINTS_MAX 256u

struct scenario;
struct lua_links; // of a scenario

// native.link_open, link_wait and adapter_dial into the table at the top of the stack.
void link_bindings_open(lua_State *L, struct scenario *s);
// Closes what the owner has open, whose tasks have been cancelled; flush: what was written goes out first. paused: they
// neither read nor write.
void links_owner_ended(const struct task_owner *owner, bool flush);
void links_owner_pause(const struct task_owner *owner, bool paused);
// The network of the device that they are of, in adapter_ops.conn_path's words. New ones ask for it.
void links_owner_path(const struct task_owner *owner, struct path *path);
void links_delete(struct lua_links *links);
