/* Forking workers from a process without threads; see helper.h. */
#include "rl/reward/helper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rl/reward/frame.h"

struct helper {
    int fd;
    pid_t pid;
    pthread_mutex_t lock; /* one question at a time */
};

/* A process that outlived its parent before prctl took hold must not stay. */
static void die_with(pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent) {
        _exit(1);
    }
}

/* Ctrl-C and a scheduler's signals reach the whole group: the parent decides when judging ends. */
static void ignore_signals(void)
{
    static const int SIGNALS[] = {SIGINT, SIGTERM, SIGUSR1, SIGHUP};
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++) {
        (void)signal(SIGNALS[i], SIG_IGN);
    }
}

static int send_fds(int to, const int fds[2], int count)
{
    char ok = (char)count;
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct iovec data = {.iov_base = &ok, .iov_len = 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(&control.head), fds, (size_t)count * sizeof(int));
    }
    return sendmsg(to, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

static int receive_fds(int from, int fds[2])
{
    char count = 0;
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct iovec data = {.iov_base = &count, .iov_len = 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t n;
    fds[0] = -1;
    fds[1] = -1;
    do {
        n = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n != 1) {
        return -1;
    }
    const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_type == SCM_RIGHTS && count >= 1 && count <= 2) {
        memcpy(fds, CMSG_DATA(head), (size_t)count * sizeof(int));
    }
    return count;
}

/* In the helper: forks a worker for `order` and hands its descriptors over. */
static void start_worker(int control, helper_work_fn work, const json_t *order)
{
    int pair[2];
    const pid_t self = getpid();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        (void)send_fds(control, NULL, 0);
        return;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        die_with(self);
        (void)signal(SIGCHLD, SIG_DFL);
        (void)close(control);
        (void)close(pair[0]);
        work(pair[1], order);
        _exit(0);
    }
    (void)close(pair[1]);
    int fds[2] = {pair[0], -1};
#ifdef SYS_pidfd_open
    fds[1] = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
#endif
    (void)send_fds(control, fds, pid < 0 ? 0 : fds[1] >= 0 ? 2 : 1);
    (void)close(pair[0]);
    if (fds[1] >= 0) {
        (void)close(fds[1]);
    }
}

static void serve(int control, helper_work_fn work)
{
    for (;;) {
        json_t *order;
        const enum status status = frame_receive(control, &order);
        if (status != STATUS_OK || !order) {
            _exit(0); /* the workers die with their parent */
        }
        start_worker(control, work, order);
        json_decref(order);
    }
}

enum status helper_start(struct helper **out, helper_work_fn work)
{
    int pair[2];
    const pid_t self = getpid();
    *out = NULL;
    struct helper *h = calloc(1, sizeof *h);
    if (!h) {
        return FAIL(MEMORY, "judge: no memory");
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        free(h);
        return FAIL(DEVICE, "judge: no socket: %s", strerror(errno));
    }
    h->pid = fork();
    if (h->pid == 0) {
        die_with(self);
        ignore_signals();
        (void)signal(SIGCHLD, SIG_IGN); /* workers leave no zombies */
        (void)close(pair[0]);
        serve(pair[1], work);
    }
    (void)close(pair[1]);
    h->fd = pair[0];
    if (h->pid < 0) {
        (void)close(pair[0]);
        free(h);
        return FAIL(DEVICE, "judge: no process for the judges: %s", strerror(errno));
    }
    (void)pthread_mutex_init(&h->lock, NULL);
    *out = h;
    return STATUS_OK;
}

enum status helper_spawn(struct helper *h, const json_t *order, struct helper_worker *out)
{
    int fds[2] = {-1, -1};
    (void)pthread_mutex_lock(&h->lock);
    enum status status = frame_send(h->fd, order);
    const int count = status == STATUS_OK ? receive_fds(h->fd, fds) : 0;
    (void)pthread_mutex_unlock(&h->lock);
    *out = (struct helper_worker){fds[0], fds[1]};
    TRY(status);
    if (count < 0) {
        return FAIL(IO, "judge: the helper process is gone");
    }
    return count > 0 && fds[0] >= 0 ? STATUS_OK
                                    : FAIL(DEVICE, "judge: no process for another worker");
}

void helper_worker_close(struct helper_worker *w)
{
#ifdef SYS_pidfd_send_signal
    if (w->pidfd >= 0) {
        (void)syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
    }
#endif
    if (w->fd >= 0) {
        (void)close(w->fd);
    }
    if (w->pidfd >= 0) {
        (void)close(w->pidfd);
    }
    *w = (struct helper_worker){-1, -1};
}

void helper_stop(struct helper *h)
{
    if (h) {
        (void)close(h->fd);
        while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR) {
        }
        (void)pthread_mutex_destroy(&h->lock);
        free(h);
    }
}
