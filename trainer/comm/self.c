/* A world of one: every collective is a copy or nothing. */
#include <string.h>

#include "trainer/comm/comm_internal.h"

static enum status self_broadcast(const struct comm *c, void *data, size_t bytes, int root)
{
    (void)c;
    (void)data;
    (void)bytes;
    (void)root;
    return STATUS_OK;
}

static enum status self_all_gather(const struct comm *c, const void *mine, size_t bytes, void *all)
{
    (void)c;
    memcpy(all, mine, bytes);
    return STATUS_OK;
}

static enum status self_send(const struct comm *c, const void *data, size_t bytes, int to)
{
    (void)c;
    (void)data;
    (void)bytes;
    return FAIL(INTERNAL, "send to rank %d in a world of one", to);
}

static enum status self_receive(const struct comm *c, void *data, size_t bytes, int from)
{
    (void)c;
    (void)data;
    (void)bytes;
    return FAIL(INTERNAL, "receive from rank %d in a world of one", from);
}

static enum status self_barrier(const struct comm *c)
{
    (void)c;
    return STATUS_OK;
}

static enum status self_split(const struct comm *c, int color, struct comm *out)
{
    (void)color;
    *out = *c;
    return STATUS_OK;
}

static void self_close(struct comm *c)
{
    (void)c;
}

static void self_abort(const struct comm *c, int exit_code)
{
    (void)c;
    _Exit(exit_code);
}

static const struct comm_ops SELF = {
    .name = "self",
    .broadcast = self_broadcast,
    .all_gather = self_all_gather,
    .send = self_send,
    .receive = self_receive,
    .barrier = self_barrier,
    .split = self_split,
    .close = self_close,
    .abort = self_abort,
};

void comm_self_open(struct comm *c)
{
    *c = (struct comm){.ops = &SELF, .size = 1, .local_size = 1};
}
