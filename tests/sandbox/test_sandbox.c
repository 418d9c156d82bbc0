/* What a run tells, how programs are built, and that a missing layer is refused by its name. */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "eval/sandbox/program.h"
#include "eval/sandbox/sandbox.h"
#include "eval/sandbox/sandbox_internal.h"
#include "kernels/base/clock.h"

/* A sandbox of the best profile that this machine allows. */
static struct sandbox *open_best(void)
{
    struct sandbox *s;
    if (sandbox_open(&s, SANDBOX_FULL) != STATUS_OK) {
        print_message("full refused: %s\n", status_message());
        if (sandbox_open(&s, SANDBOX_REDUCED) != STATUS_OK) {
            print_message("reduced refused: %s\n", status_message());
            skip();
        }
    }
    return s;
}

static struct sandbox_result run_shell(struct sandbox *s, const char *script, const char *input)
{
    const char *argv[] = {"/bin/bash", "-c", script, NULL};
    const struct sandbox_spec spec = {
        .argv = argv,
        .input = input,
        .input_size = strlen(input),
        .collect = "kept",
        .collect_bytes = 64,
        .limits = {.output_bytes = 1000},
    };
    struct sandbox_result r;
    assert_int_equal(sandbox_run(s, &spec, &r), STATUS_OK);
    return r;
}

static void a_run_tells_what_happened(void **state)
{
    (void)state;
    struct sandbox *s = open_best();
    struct sandbox_result r = run_shell(s, "cat; echo out; echo err >&2; exit 3", "in\n");
    assert_int_equal(r.end, SANDBOX_EXITED);
    assert_int_equal(r.code, 3);
    assert_string_equal(r.out.data, "in\nout\n");
    assert_string_equal(r.err.data, "err\n");
    assert_null(r.collected.data);
    assert_true(r.cpu_seconds > 0.0 && r.cpu_seconds < 2.0);
    assert_true(r.wall_seconds > 0.0 && r.wall_seconds < 5.0);
    assert_true(r.memory_bytes > 100 << 10);
    sandbox_result_close(&r);
    r = run_shell(s, "printf 'a\\0\\377b'", "");
    assert_int_equal(r.out.size, 4);
    assert_memory_equal(r.out.data, "a\0\377b", 5);
    sandbox_result_close(&r);
    r = run_shell(s, "kill -SEGV $$", "");
    assert_int_equal(r.end, SANDBOX_SIGNALED);
    assert_int_equal(r.code, SIGSEGV);
    sandbox_result_close(&r);
    r = run_shell(s, "printf %1000s x", ""); /* exactly the limit is no flood */
    assert_int_equal(r.end, SANDBOX_EXITED);
    assert_int_equal(r.out.size, 1000);
    sandbox_result_close(&r);
    r = run_shell(s, "printf %1001s x", "");
    assert_int_equal(r.end, SANDBOX_OUTPUT_LIMIT);
    assert_int_equal(r.out.size, 1000);
    sandbox_result_close(&r);
    sandbox_close(s);
}

static void a_file_comes_back_only_if_it_is_one(void **state)
{
    (void)state;
    static const struct {
        const char *script, *kept;
    } CASES[] = {
        {"echo yes > kept", "yes\n"},       {": > kept", ""},
        {"ln -s /bin/bash kept", NULL},     {"mkfifo kept", NULL},
        {"mkdir kept", NULL},               {"printf %65s x > kept", NULL},
        {"true", NULL},
    };
    struct sandbox *s = open_best();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct sandbox_result r = run_shell(s, CASES[i].script, "");
        assert_int_equal(r.end, SANDBOX_EXITED);
        if (CASES[i].kept) {
            assert_non_null(r.collected.data);
            assert_string_equal(r.collected.data, CASES[i].kept);
        } else {
            assert_null(r.collected.data);
        }
        sandbox_result_close(&r);
    }
    sandbox_close(s);
}

static void runs_do_not_see_each_other(void **state)
{
    (void)state;
    struct sandbox *s = open_best();
    struct sandbox_result r = run_shell(s, "echo x > trace; echo x > /tmp/trace; ls -A", "");
    assert_non_null(strstr(r.out.data, "trace"));
    sandbox_result_close(&r);
    r = run_shell(s, "ls -A; ls /tmp/trace 2>/dev/null", "");
    assert_int_equal(r.out.size, 0);
    sandbox_result_close(&r);
    sandbox_close(s);
}

static void what_cannot_start_is_told(void **state)
{
    (void)state;
    struct sandbox *s = open_best();
    static const char GARBAGE[] = "\177ELF\1\2\3 this is no program";
    const struct sandbox_file files[] = {
        {"garbage", GARBAGE, sizeof GARBAGE, true},
        {"plain", "echo\n", 5, false},
        {"script", "#!/no/such/interpreter\n", 23, true},
    };
    static const struct {
        const char *program;
        int error;
    } CASES[] = {{"./garbage", ENOEXEC}, {"./plain", EACCES}, {"./script", ENOENT},
                 {"/usr/bin/no-such-program", ENOENT}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const char *argv[] = {CASES[i].program, NULL};
        const struct sandbox_spec spec = {.argv = argv, .files = files, .file_count = 3};
        struct sandbox_result r;
        assert_int_equal(sandbox_run(s, &spec, &r), STATUS_OK);
        assert_int_equal(r.end, SANDBOX_NOT_STARTED);
        assert_int_equal(r.code, CASES[i].error);
        sandbox_result_close(&r);
    }
    sandbox_close(s);
}

static void bad_specs_are_refused(void **state)
{
    (void)state;
    struct sandbox *s = open_best();
    const char *none[] = {NULL};
    const char *argv[] = {"/bin/true", NULL};
    static const char *const NAMES[] = {"", ".", "..", "a/b", "/etc/passwd", "../x"};
    struct sandbox_spec spec = {.argv = none};
    struct sandbox_result r;
    assert_int_equal(sandbox_run(s, &spec, &r), STATUS_USAGE);
    spec.argv = argv;
    spec.file_count = SANDBOX_MAX_FILES + 1;
    assert_int_equal(sandbox_run(s, &spec, &r), STATUS_USAGE);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        const struct sandbox_file file = {NAMES[i], "x", 1, false};
        spec.files = &file;
        spec.file_count = 1;
        assert_int_equal(sandbox_run(s, &spec, &r), STATUS_USAGE);
    }
    sandbox_close(s);
}

static const struct {
    const char *language, *text, *out;
} HELLO[] = {
    {"python", "import sys, json, math, re, collections\nprint('py', sys.stdin.read())", "py in"},
    {"c", "#include <stdio.h>\nint main(void){char b[9];puts(fgets(b,9,stdin));}", "in"},
    {"C++", "#include <bits/stdc++.h>\nint main(){std::string s;std::cin>>s;std::cout<<s;}", "in"},
    {"js", "console.log('js', require('fs').readFileSync(0, 'utf8'))", "js in"},
    {"bash", "read line; echo $line | tr a-z A-Z", "IN"},
};

static void every_language_runs(void **state)
{
    (void)state;
    struct sandbox *s = open_best();
    for (size_t i = 0; i < sizeof HELLO / sizeof *HELLO; i++) {
        const struct program_source source = {
            .language = HELLO[i].language, .text = HELLO[i].text, .size = strlen(HELLO[i].text)};
        struct program *p;
        const enum status status = program_open(&p, s, &source);
        if (status == STATUS_DEVICE && strstr(status_message(), "install ")) {
            print_message("%s\n", status_message());
            continue;
        }
        assert_int_equal(status, STATUS_OK);
        assert_null(program_error(p));
        for (int twice = 0; twice < 2; twice++) {
            const struct program_input in = {.input = "in", .input_size = 2};
            struct sandbox_result r;
            assert_int_equal(program_run(p, &in, &r), STATUS_OK);
            if (r.end != SANDBOX_EXITED || r.code != 0 || !r.out.data) {
                fail_msg("%s: %s %d %s", HELLO[i].language, sandbox_end_name(r.end), r.code,
                         r.err.data ? r.err.data : "");
            }
            assert_memory_equal(r.out.data, HELLO[i].out, strlen(HELLO[i].out));
            sandbox_result_close(&r);
        }
        program_close(p);
    }
    sandbox_close(s);
}

static void compile_errors_and_unknown_languages(void **state)
{
    (void)state;
    struct sandbox *s = open_best();
    static const struct {
        const char *language, *text;
    } BAD[] = {
        {"c", "int main(void) { return x; }"},
        {"cpp", ""},
        {"cpp", "#include \"/etc/passwd\"\nint main(){}"},
        {"c", "\377\376\0\1 binary"},
        /* Templates without end: the compiler has limits too. */
        {"cpp", "template<int N> struct A { A<N + 1> a; }; A<0> a; int main() {}"},
    };
    struct program *p;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        const struct program_source source = {
            .language = BAD[i].language, .text = BAD[i].text, .size = strlen(BAD[i].text)};
        struct sandbox_result r;
        assert_int_equal(program_open(&p, s, &source), STATUS_OK);
        assert_non_null(program_error(p));
        assert_true(strlen(program_error(p)) <= 4096);
        assert_int_equal(program_run(p, &(struct program_input){0}, &r), STATUS_USAGE);
        program_close(p);
    }
    const struct program_source cobol = {.language = "cobol", .text = "", .size = 0};
    assert_int_equal(program_open(&p, s, &cobol), STATUS_USAGE);
    assert_non_null(strstr(status_message(), "cobol"));
    sandbox_close(s);
}

static void further_sources_are_linked(void **state)
{
    (void)state;
    struct sandbox *s = open_best();
    static const char HEADER[] = "int twice(int);\n";
    static const char GRADER[] = "#include <cstdio>\n#include \"twice.h\"\n"
                                 "int main(){printf(\"%d\",twice(21));}\n";
    const struct sandbox_file extra[] = {
        {"twice.h", HEADER, sizeof HEADER - 1, false},
        {"grader.cpp", GRADER, sizeof GRADER - 1, false},
    };
    struct program *p;
    static const char TEXT[] = "#include \"twice.h\"\nint twice(int x){return 2*x;}";
    const struct program_source source = {.language = "cpp", .text = TEXT, .size = sizeof TEXT - 1,
                                          .extra = extra, .extra_count = 2};
    struct sandbox_result r;
    assert_int_equal(program_open(&p, s, &source), STATUS_OK);
    assert_null(program_error(p));
    assert_int_equal(program_run(p, &(struct program_input){0}, &r), STATUS_OK);
    assert_string_equal(r.out.data, "42");
    sandbox_result_close(&r);
    program_close(p);
    sandbox_close(s);
}

/* Denies system calls to this process as a container would. */
static void deny(const char *const *names, unsigned long clone_flag, int error)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    assert_non_null(ctx);
    for (int i = 0; i < 4 && names[i]; i++) {
        const int number = seccomp_syscall_resolve_name(names[i]);
        assert_int_equal(seccomp_rule_add(ctx, SCMP_ACT_ERRNO((uint16_t)error), number, 0), 0);
    }
    if (clone_flag) {
        assert_int_equal(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                          SCMP_CMP(0, SCMP_CMP_MASKED_EQ, clone_flag, clone_flag)),
                         0);
    }
    assert_int_equal(seccomp_load(ctx), 0);
    seccomp_release(ctx);
}

static const struct {
    const char *denied[4];
    unsigned long clone_flag;
    int error;
    bool reduced_too;  /* both profiles need the layer */
    const char *layer; /* what the refusal must name */
} MISSING[] = {
    {{"unshare"}, CLONE_NEWUSER, EPERM, false, "user namespace (Operation not permitted)"},
    {{"unshare"}, 0, EPERM, false, "mount, pid, net, ipc, uts and cgroup namespaces ("},
    {{"mount", "pivot_root"}, 0, EPERM, false, "root of its own ("},
    {{"open_tree", "move_mount"}, 0, ENOSYS, false, "root of its own ("},
    {{"landlock_create_ruleset"}, 0, ENOSYS, true, "Landlock ("},
    {{"seccomp"}, 0, ENOSYS, true, "seccomp ("},
};

static void missing_layers_are_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof MISSING / sizeof *MISSING; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            struct sandbox *s;
            deny(MISSING[i].denied, MISSING[i].clone_flag, MISSING[i].error);
            if (sandbox_open(&s, SANDBOX_FULL) != STATUS_DEVICE || s
                || !strstr(status_message(), MISSING[i].layer)
                || !strstr(status_message(), "sandbox_profile: reduced")) {
                print_message("full: %s\n", status_message());
                _exit(1);
            }
            const enum status status = sandbox_open(&s, SANDBOX_REDUCED);
            if (MISSING[i].reduced_too
                && (status != STATUS_DEVICE || !strstr(status_message(), MISSING[i].layer))) {
                print_message("reduced: %s\n", status_message());
                _exit(2);
            }
            if (!MISSING[i].reduced_too && status == STATUS_OK) {
                struct sandbox_result r = run_shell(s, "echo here", "");
                _exit(r.out.data && strcmp(r.out.data, "here\n") == 0 ? 0 : 3);
            }
            _exit(status == STATUS_OK || status == STATUS_DEVICE ? 0 : 4);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 0) {
            fail_msg("%s is missing: the child ended with %x", MISSING[i].layer, (unsigned)status);
        }
    }
}

/* A layer that goes away between the probe and the run stops the run: nothing starts without it. */
static void a_layer_lost_later_stops_the_run(void **state)
{
    (void)state;
    static const struct {
        const char *denied[4];
        const char *layer;
    } LOST[] = {
        {{"landlock_restrict_self"}, "Landlock"},
        {{"seccomp"}, "seccomp"},
        {{"capset"}, "user id"},
        {{"setrlimit", "prlimit64"}, "resource limits"},
    };
    for (size_t i = 0; i < sizeof LOST / sizeof *LOST; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            struct sandbox *s = open_best();
            const char *argv[] = {"/bin/echo", "ran", NULL};
            const struct sandbox_spec spec = {.argv = argv};
            struct sandbox_result r;
            deny(LOST[i].denied, 0, EPERM);
            const enum status status = sandbox_run(s, &spec, &r);
            const bool named = strstr(status_message(), LOST[i].layer) != NULL;
            print_message("%s\n", status_message());
            _exit(status == STATUS_DEVICE && named && r.out.size == 0 ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
}

/* When the supervisor dies, its keeper and candidate die. */
static void the_candidate_dies_with_its_supervisor(void **state)
{
    (void)state;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    for (int profile = SANDBOX_FULL; profile <= SANDBOX_REDUCED; profile++) {
        const pid_t pid = fork();
        if (pid == 0) {
            struct sandbox *s;
            const char *argv[] = {"/bin/sleep", "60", NULL};
            const struct sandbox_spec spec = {.argv = argv, .limits = {.wall_seconds = 60.0}};
            struct sandbox_result r;
            if (sandbox_open(&s, (enum sandbox_profile)profile) == STATUS_OK) {
                _exit(sandbox_run(s, &spec, &r) == STATUS_OK ? 0 : 1);
            }
            _exit(0);
        }
        struct tree_sum tree = {0};
        const double until = clock_seconds() + 5.0;
        while (tree.tasks < 4 && clock_seconds() < until) { /* it, its supervisor, keeper, sleep */
            usleep(10000);
            (void)tree_measure(getpid(), &tree);
        }
        kill(pid, SIGKILL);
        for (const double end = clock_seconds() + 5.0; clock_seconds() < end && tree.tasks > 1;) {
            usleep(10000);
            while (waitpid(-1, NULL, WNOHANG) > 0) {
            }
            assert_true(tree_measure(getpid(), &tree));
        }
        assert_int_equal(tree.tasks, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_tells_what_happened),
        cmocka_unit_test(a_file_comes_back_only_if_it_is_one),
        cmocka_unit_test(runs_do_not_see_each_other),
        cmocka_unit_test(what_cannot_start_is_told),
        cmocka_unit_test(bad_specs_are_refused),
        cmocka_unit_test(every_language_runs),
        cmocka_unit_test(compile_errors_and_unknown_languages),
        cmocka_unit_test(further_sources_are_linked),
        cmocka_unit_test(missing_layers_are_refused_by_name),
        cmocka_unit_test(a_layer_lost_later_stops_the_run),
        cmocka_unit_test(the_candidate_dies_with_its_supervisor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
