/*
 * Messages between the processes of the judges: a length of four bytes, then so many bytes of JSON,
 * over a stream socket. Both ends run the same program on the same machine.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

/* Longest message in bytes. */
#define FRAME_CAP ((size_t)256 << 20)

/* Sends one JSON value. Fails with IO when the other end is gone, INPUT when it is longer than
 * FRAME_CAP or no JSON, MEMORY. Never raises SIGPIPE. */
MUST_USE enum status frame_send(int fd, const json_t *message);

/* Receives one JSON value (new reference); *out is NULL at an orderly end. Fails with IO when the
 * other end broke off inside a message or sent no JSON, MEMORY. */
MUST_USE enum status frame_receive(int fd, json_t **out);
