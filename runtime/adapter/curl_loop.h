// libcurl's multi interface on the loop: its timer, its sockets, and who is told when a transfer has ended. For the
// HTTP adapter, whose sockets are its own, and for whoever else speaks HTTP (sinks).
//
// The timer is libev's: libcurl lives in real time, whatever the clock of the loop is.
#pragma once
#include <curl/curl.h>
#include "core/loop.h"

struct curl_loop {
    struct loop *loop;
    CURLM *multi;
    ev_timer timer;
    void (*done)(void *arg, CURL *easy, CURLcode rc);
    void *arg;
};

// done: a transfer has ended; it may take the handle off the multi and begin others. Sockets are watched unless the
// caller sets CURLMOPT_SOCKETFUNCTION for itself. -1: no memory.
int curl_loop_create(struct curl_loop *c, struct loop *loop, void (*done)(void *arg, CURL *easy, CURLcode rc),
                     void *arg, struct error *err) WARN_UNUSED_RESULT;
// All easy handles were taken off before. Nothing for one that is all zeroes.
void curl_loop_destroy(struct curl_loop *c);
// Runs what libcurl has to do now, and tells what has ended. fd and events: as curl_multi_socket_action.
void curl_loop_run(struct curl_loop *c, curl_socket_t fd, int events);
