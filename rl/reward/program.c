/*
 * A reward from a program of the user's: one JSON object per line in, one answer per line out.
 *
 *   in   {"completion", "prompt", "tokens", "truncated", "group", "sample", "row": {..}, ..}
 *   out  a number, null, or {"score": number or null, "reason": ".."}
 *
 * The program stays alive between completions. One that ends, answers nonsense or takes too long
 * costs a null score and is started again.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "rl/reward/reward_internal.h"

enum { COMMAND, TIMEOUT };
enum { MAX_WORDS = 64, LINE_CAP = 1 << 20 };

const struct reward_parameter REWARD_PROGRAM_PARAMETERS[] = {
    {.key = "reward_program",
     .type = PARAMETER_TEXTS,
     .doc = "program and its arguments; reads and writes JSON lines"},
    {.key = "reward_program_timeout",
     .def = 30,
     .low = 0.01,
     .high = 86400,
     .doc = "seconds of an answer"},
    {0},
};

struct program_state {
    struct reward_values values;
    char *words[MAX_WORDS + 1]; /* borrowed from values */
    pid_t pid;                  /* of the guard; 0: not running */
    int fd;
    int life; /* the guard lives while this is open */
    char *line; /* [LINE_CAP] */
    size_t used;
};

static void stop(struct program_state *s)
{
    if (s->pid > 0) {
        (void)close(s->fd);
        (void)close(s->life);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    s->pid = 0;
    s->fd = -1;
    s->used = 0;
}

static void run_program(char *const words[], int fd)
{
    (void)setpgid(0, 0);
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)dup2(fd, STDIN_FILENO);
    (void)dup2(fd, STDOUT_FILENO);
    (void)execvp(words[0], words);
    _exit(127);
}

/* The guard starts the program and waits for the end of its opener, however it comes; then it kills
 * the program and what that started. */
static void guard(char *const words[], int fd, int life)
{
    char byte;
    const pid_t pid = fork();
    if (pid == 0) {
        run_program(words, fd);
    }
    (void)setpgid(pid, pid); /* both sides set it: neither may be late */
    (void)close(fd);
    while (read(life, &byte, 1) < 0 && errno == EINTR) {
    }
    if (pid > 0) {
        (void)kill(-pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    _exit(0);
}

static enum status start(struct program_state *s)
{
    int pair[2];
    int life[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        return FAIL(DEVICE, "reward_program: no socket: %s", strerror(errno));
    }
    if (pipe2(life, O_CLOEXEC) != 0) {
        (void)close(pair[0]);
        (void)close(pair[1]);
        return FAIL(DEVICE, "reward_program: no pipe: %s", strerror(errno));
    }
    const pid_t pid = fork();
    if (pid == 0) {
        (void)close(pair[0]);
        (void)close(life[1]);
        guard(s->words, pair[1], life[0]);
    }
    (void)close(pair[1]);
    (void)close(life[0]);
    if (pid < 0) {
        (void)close(pair[0]);
        (void)close(life[1]);
        return FAIL(DEVICE, "reward_program: no process: %s", strerror(errno));
    }
    s->pid = pid;
    s->fd = pair[0];
    s->life = life[1];
    s->used = 0;
    return STATUS_OK;
}

/* Waits for `events` until `deadline`. */
static bool ready(const struct program_state *s, short events, double deadline)
{
    for (;;) {
        const double left = deadline - clock_seconds();
        struct pollfd p = {.fd = s->fd, .events = events};
        const int n = poll(&p, 1, left > 0 ? (int)ceil(left * 1e3) : 0);
        if (n != 0 && !(n < 0 && errno == EINTR)) {
            return n > 0;
        }
        if (left <= 0) {
            return false;
        }
    }
}

/* Both directions in one loop: a program that answers before it has read all must not block. */
static const char *exchange(struct program_state *s, const char *text, size_t size,
                            double deadline)
{
    s->used = 0;
    for (;;) {
        if (!ready(s, (short)(size > 0 ? POLLIN | POLLOUT : POLLIN), deadline)) {
            return "the program took too long (reward_program_timeout)";
        }
        ssize_t n = size > 0 ? send(s->fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
        if (n > 0) {
            text += n;
            size -= (size_t)n;
        }
        n = recv(s->fd, s->line + s->used, LINE_CAP - 1 - s->used, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            return "the program ended without an answer";
        }
        s->used += n > 0 ? (size_t)n : 0;
        if (s->used > 0 && s->line[s->used - 1] == '\n') {
            s->line[s->used - 1] = '\0';
            return NULL;
        }
        if (s->used == LINE_CAP - 1) {
            return "the program's answer is too long";
        }
    }
}

/* Score of the line that came; why it is null in `reason`. */
static bool read_answer(const char *line, double *score, char *reason)
{
    json_t *json = json_loads(line, JSON_DECODE_ANY, NULL);
    const json_t *value = json_is_object(json) ? json_object_get(json, "score") : json;
    const char *why = json_string_value(json_object_get(json, "reason"));
    const bool good = json_is_number(value) || json_is_null(value);
    *score = json_is_number(value) ? json_number_value(value) : NAN;
    if (good && isnan(*score)) {
        reward_explain(reason, "%s", why ? why : "the program gives no score");
    }
    json_decref(json);
    return good;
}

double reward_program(const void *state, const struct reward_input *in, char *reason)
{
    struct program_state *s = (struct program_state *)(uintptr_t)state;
    json_t *request = reward_input_to_json(in);
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    const char *wrong = NULL;
    double score = NAN;
    json_decref(request);
    const size_t size = text ? strlen(text) : 0;
    if (!text) {
        wrong = "the completion is no UTF-8 text";
    } else if (s->pid == 0 && start(s) != STATUS_OK) {
        wrong = status_message();
    } else {
        text[size] = '\n'; /* in place of the NUL: lengths are kept apart */
        wrong = exchange(s, text, size + 1, clock_seconds() + s->values.number[TIMEOUT]);
        if (!wrong && !read_answer(s->line, &score, reason)) {
            wrong = "the program's answer is no score";
        }
        if (wrong) {
            stop(s);
        }
    }
    if (wrong) {
        reward_explain(reason, "%s", wrong);
    }
    free(text);
    return score;
}

static enum status read_command(struct program_state *s)
{
    const json_t *given = s->values.json[COMMAND];
    const size_t count = json_is_string(given) ? 1 : json_array_size(given);
    if (count == 0 || count > MAX_WORDS) {
        return FAIL(RECIPE, "reward_program: a program and at most %d arguments", MAX_WORDS - 1);
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *word = json_is_string(given) ? given : json_array_get(given, i);
        s->words[i] = (char *)(uintptr_t)json_string_value(word);
    }
    if (strchr(s->words[0], '/') && access(s->words[0], X_OK) != 0) {
        return FAIL(RECIPE, "reward_program: %s: %s", s->words[0], strerror(errno));
    }
    return STATUS_OK;
}

enum status reward_open_program(const struct reward *r, const json_t *parameters, void **state)
{
    struct program_state *s = calloc(1, sizeof *s);
    *state = s;
    if (!s) {
        return FAIL(MEMORY, "reward_program: no memory");
    }
    s->fd = -1;
    s->line = malloc(LINE_CAP);
    if (!s->line) {
        return FAIL(MEMORY, "reward_program: no memory");
    }
    TRY(reward_values_read(r, parameters, &s->values));
    TRY(read_command(s));
    return start(s);
}

void reward_close_program(void *state)
{
    struct program_state *s = state;
    if (s) {
        stop(s);
        reward_values_clear(&s->values);
        free(s->line);
        free(s);
    }
}
