/* Length-prefixed JSON over a socket; see frame.h. */
#include "rl/reward/frame.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static enum status send_bytes(int fd, const char *at, size_t size)
{
    while (size > 0) {
        const ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return FAIL(IO, "judge: the other process is gone: %s", strerror(errno));
        }
        at += n;
        size -= (size_t)n;
    }
    return STATUS_OK;
}

/* *got counts what came before an end. */
static enum status receive_bytes(int fd, char *at, size_t size, size_t *got)
{
    *got = 0;
    while (*got < size) {
        const ssize_t n = read(fd, at + *got, size - *got);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno != ECONNRESET) {
            return FAIL(IO, "judge: cannot read from the other process: %s", strerror(errno));
        }
        if (n <= 0) {
            return STATUS_OK;
        }
        *got += (size_t)n;
    }
    return STATUS_OK;
}

enum status frame_send(int fd, const json_t *message)
{
    char *text = json_dumps(message, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) {
        return FAIL(INPUT, "judge: the message is no JSON");
    }
    const size_t size = strlen(text);
    const uint32_t length = (uint32_t)size;
    enum status status =
        size > FRAME_CAP
            ? FAIL(INPUT, "judge: a message of %zu bytes, at most %zu", size, FRAME_CAP)
            : send_bytes(fd, (const char *)&length, sizeof length);
    if (status == STATUS_OK) {
        status = send_bytes(fd, text, size);
    }
    free(text);
    return status;
}

enum status frame_receive(int fd, json_t **out)
{
    uint32_t length = 0;
    size_t got;
    *out = NULL;
    TRY(receive_bytes(fd, (char *)&length, sizeof length, &got));
    if (got == 0) {
        return STATUS_OK;
    }
    if (got < sizeof length || length > FRAME_CAP) {
        return FAIL(IO, "judge: the other process broke off");
    }
    char *text = malloc((size_t)length + 1);
    if (!text) {
        return FAIL(MEMORY, "judge: no memory for %u bytes", length);
    }
    enum status status = receive_bytes(fd, text, length, &got);
    if (status == STATUS_OK && got == length) {
        *out = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    }
    free(text);
    TRY(status);
    return *out ? STATUS_OK : FAIL(IO, "judge: the other process broke off");
}
