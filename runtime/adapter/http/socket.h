// Every socket of the HTTP adapter comes from here: address, source address, options, the count of them.
//
// libcurl is told a made-up numeric address for each device (CURLOPT_CONNECT_TO): its connection cache, which all
// devices of a multi handle share, looks for connections by that address, so a device only ever finds its own. When it
// opens a socket, the address is replaced by the true one, from our resolver: no thread of libcurl's looks names up.
#pragma once
#include <curl/curl.h>
#include "adapter/http/target.h"

struct http_socket {
    ev_io io;
    struct http_target *target;
    struct http_multi *multi;
    struct adapter_conn *conn;        // NULL: deleted or closed; the socket is shut down and waits for libcurl
    struct http_lane *lane;           // NULL: of another origin
    struct http_exchange *opener;     // its connect is under way for that one; NULL: done, or given up
    struct http_socket *next, **prev; // of the same conn
    struct http_bridge *bridge;       // over the device's path; NULL: straight to the server
    struct ssl_st *ssl;               // https: freed by libcurl just before it closes the socket
    int wanted;                       // EV_READ | EV_WRITE
    uint32_t heard, quiet_bytes;      // what its lane had heard, and about what was read since then
    bool frozen, crashes;             // crashes: it ends by RST, also when libcurl closes it
};

// CURLOPT_OPENSOCKETFUNCTION (clientp: the exchange) and CURLOPT_CLOSESOCKETFUNCTION (the target).
curl_socket_t http_socket_open(void *clientp, curlsocktype purpose, struct curl_sockaddr *address);
int http_socket_close(void *clientp, curl_socket_t fd);
// The connect of an exchange that libcurl has given up: libcurl 7.88 closes such a socket itself and does not call
// http_socket_close, and its number may be another's by now. Nothing when it stands or was closed by the callback.
void http_socket_abandoned(struct http_exchange *x);
// CURLMOPT_SOCKETFUNCTION.
int http_socket_watch(CURL *easy, curl_socket_t fd, int what, void *userp, void *socketp);
// Another description takes the place behind its descriptor, which stays what libcurl knows. fd is closed.
void http_socket_replace(struct http_socket *s, int fd);
// What a device has is put on its path; without one, connections of a pool that only this device could use end.
void http_sockets_follow(struct adapter_conn *conn);
// The connections of a device end: FIN, or RST. libcurl finds them dead and closes them when it next looks.
void http_sockets_end(struct adapter_conn *conn, enum adapter_close mode);
// The same for one lane, which is about to be freed.
void http_lane_end(struct adapter_conn *conn, struct http_lane *lane);
// Before its requests are taken from libcurl, which closes their connections: these will end by RST, too.
void http_sockets_crash(struct adapter_conn *conn);
void http_sockets_freeze(struct adapter_conn *conn, bool frozen);
