// Sockets that have said all they had to say: after FIN they are read until the peer has ended too. A socket that is
// closed while the peer still sends answers with RST, and the peer may then lose what was last written to it (a
// DISCONNECT: it would publish the will). Private to the room.
#pragma once
#include <stdbool.h>
#include "core/loop.h"

#define LINGER_MAX 1024              // sockets at once; beyond: closed at once
#define LINGER_US ((int64_t)1000000) // the longest wait for the peer

struct lingerers;
struct lingerers *lingerers_new(struct loop *loop);
void lingerers_delete(struct lingerers *all); // closes all of them
// Takes the descriptor over after a shutdown of its writing side, and closes it in time. false: it is the caller's
// still (no socket, too many, no memory).
bool lingerers_take(struct lingerers *all, int fd);
