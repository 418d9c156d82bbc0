/*
 * Attacks on the sandbox, one function each: `attacks NAME` runs one inside and prints "contained",
 * or "ESCAPED" when it got what it was after. test_escapes.c builds this file in the sandbox and
 * runs every row of its table. Attacks marked harmless there are run outside too, where they must
 * succeed: an attack that never works proves nothing.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static bool can_open(const char *path, int flags)
{
    const int fd = open(path, flags);
    if (fd >= 0) {
        close(fd);
        fprintf(stderr, "opened %s\n", path);
    }
    return fd >= 0;
}

static bool fork_bomb(void)
{
    for (;;) {
        (void)fork();
    }
    return true;
}

static bool fork_count(void)
{
    int made = 0;
    while (made < 1000 && fork() != 0) {
        made++;
        if (errno == EAGAIN || errno == ENOMEM) {
            break;
        }
        if (made > 100) {
            return true;
        }
    }
    return false;
}

static bool thread_swarm(void)
{
    int made = 0;
    pthread_t thread;
    while (made < 200
           && pthread_create(&thread, NULL, (void *(*)(void *))(uintptr_t)pause, NULL) == 0) {
        made++;
    }
    fprintf(stderr, "%d threads\n", made);
    return made >= 100;
}

static bool memory_hog(void)
{
    const size_t step = 16 << 20;
    for (size_t sum = 0; sum < (size_t)2 << 30; sum += step) {
        char *p = malloc(step);
        if (!p) {
            return false;
        }
        memset(p, 1, step);
    }
    return true;
}

static bool memory_by_forks(void)
{
    for (int i = 0; i < 12; i++) {
        if (fork() == 0) {
            (void)memory_hog();
            pause();
        }
    }
    sleep(30);
    return true;
}

static bool memory_shared(void)
{
    for (int i = 0; i < 12; i++) {
        if (fork() == 0) {
            const size_t size = (size_t)96 << 20;
            char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            if (p != MAP_FAILED) {
                memset(p, 1, size);
            }
            pause();
        }
    }
    sleep(30);
    return true;
}

static bool memory_locked(void)
{
    static char page[1 << 16];
    return mlock(page, sizeof page) == 0 || mlockall(MCL_CURRENT) == 0;
}

static bool disk_fill(void)
{
    static char block[1 << 20];
    size_t sum = 0;
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "f%d", i);
        const int fd = open(name, O_WRONLY | O_CREAT, 0600);
        ssize_t n = 0;
        while (fd >= 0 && (n = write(fd, block, sizeof block)) > 0) {
            sum += (size_t)n;
        }
        close(fd);
        if (sum > (size_t)512 << 20) {
            return true;
        }
    }
    return false;
}

static bool many_files(void)
{
    for (int i = 0; i < 200000; i++) {
        char name[32];
        snprintf(name, sizeof name, "n%d", i);
        const int fd = open(name, O_WRONLY | O_CREAT, 0600);
        if (fd < 0) {
            return false;
        }
        close(fd);
    }
    return true;
}

static bool deep_folders(void)
{
    int depth = 0;
    while (depth < 20000 && mkdir("d", 0700) == 0 && chdir("d") == 0) {
        depth++;
    }
    return depth >= 20000;
}

static bool locked_folder(void)
{
    mkdir("locked", 0700);
    const int fd = open("locked/file", O_WRONLY | O_CREAT, 0600);
    (void)!write(fd, "x", 1);
    close(fd);
    chmod("locked", 0);
    chmod(".", 0);
    return false; /* the host looks whether the folder could be removed */
}

static bool proc_read(void)
{
    static const char *const FILES[] = {"/proc/1/environ", "/proc/1/cmdline", "/proc/self/maps",
                                        "/proc/self/environ", "/proc/version", "/proc/cpuinfo",
                                        "/proc/mounts", "/proc/kcore", "/proc/sys/kernel/hostname"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        if (can_open(FILES[i], O_RDONLY)) {
            return true;
        }
    }
    return false;
}

static bool sys_read(void)
{
    return can_open("/sys/kernel", O_RDONLY | O_DIRECTORY)
           || can_open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY);
}

static bool ptrace_parent(void)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) == 0
           || ptrace(PTRACE_SEIZE, getppid(), NULL, NULL) == 0;
}

static bool ptrace_child(void)
{
    const pid_t pid = fork();
    if (pid == 0) {
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 9 : 0);
    }
    int status;
    (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 9;
}

static bool any_socket(int domain, int type, int protocol)
{
    const int fd = socket(domain, type, protocol);
    if (fd >= 0) {
        fprintf(stderr, "socket %d %d\n", domain, type);
        close(fd);
    }
    return fd >= 0;
}

static bool network_tcp(void)
{
    return any_socket(AF_INET, SOCK_STREAM, 0) || any_socket(AF_INET6, SOCK_STREAM, 0);
}

static bool network_udp(void)
{
    return any_socket(AF_INET, SOCK_DGRAM, 0) || any_socket(AF_INET6, SOCK_DGRAM, 0);
}

static bool network_raw(void)
{
    return any_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) || any_socket(AF_PACKET, SOCK_RAW, 0);
}

static bool network_other(void)
{
    return any_socket(AF_NETLINK, SOCK_RAW, 0) || any_socket(40 /* AF_VSOCK */, SOCK_STREAM, 0)
           || any_socket(38 /* AF_ALG */, SOCK_SEQPACKET, 0);
}

static bool unix_abstract(void)
{
    return any_socket(AF_UNIX, SOCK_STREAM, 0) || any_socket(AF_UNIX, SOCK_DGRAM, 0);
}

static bool unix_datagram_pair(void)
{
    int pair[2];
    return socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0;
}

static bool unix_named_by_pair(void)
{
    int pair[2];
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/run/dbus/system_bus_socket"};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
        return false;
    }
    struct msghdr message = {.msg_name = &name, .msg_namelen = sizeof name};
    return bind(pair[0], (struct sockaddr *)&name, sizeof name) == 0
           || connect(pair[0], (struct sockaddr *)&name, sizeof name) == 0
           || sendto(pair[0], "x", 1, 0, (struct sockaddr *)&name, sizeof name) > 0
           || sendmsg(pair[0], &message, 0) > 0;
}

static bool signal_parent(void)
{
    const int signals[] = {SIGKILL, SIGTERM, SIGSTOP, SIGCHLD, SIGALRM, SIGUSR1, SIGSEGV};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        (void)kill(getppid(), signals[i]);
    }
    usleep(50000);
    return false; /* the host sees whether the keeper is there to tell */
}

static bool signal_everyone(void)
{
    (void)kill(-1, SIGSTOP);
    (void)kill(-1, SIGKILL);
    (void)kill(0, SIGCONT);
    for (pid_t pid = 2; pid < 32768; pid++) {
        if (pid != getpid()) {
            (void)kill(pid, SIGKILL);
        }
    }
    return false; /* the host sees whether its processes live */
}

static bool symlink_out(void)
{
    (void)symlink("/etc/shadow", "a");
    (void)symlink("/proc/self/root/etc/shadow", "b");
    (void)symlink("../../../../../../etc/shadow", "c");
    (void)symlink("/root", "d");
    return can_open("a", O_RDONLY) || can_open("b", O_RDONLY) || can_open("c", O_RDONLY)
           || can_open("d", O_RDONLY | O_DIRECTORY);
}

static bool hard_link(void)
{
    return link("/usr/bin/env", "env") == 0 || link("/etc/passwd", "passwd") == 0
           || linkat(AT_FDCWD, "/usr/bin/env", AT_FDCWD, "env2", AT_SYMLINK_FOLLOW) == 0;
}

static bool descriptors(void)
{
    for (int fd = 3; fd < 4096; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            fprintf(stderr, "descriptor %d\n", fd);
            return true;
        }
    }
    return false;
}

static bool io_uring(void)
{
    char parameters[256] = {0};
    return syscall(425, 8, parameters) >= 0;
}

static bool nested_user(void)
{
    return unshare(CLONE_NEWUSER) == 0;
}

static bool nested_each(void)
{
    static const int FLAGS[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET,
                                CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, 0x80 /* NEWTIME */};
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++) {
        if (unshare(FLAGS[i]) == 0) {
            return true;
        }
        const long pid = FLAGS[i] == 0x80
                             ? -1
                             : syscall(SYS_clone, FLAGS[i] | CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) {
            _exit(0);
        }
        if (pid > 0) {
            return true;
        }
    }
    return false;
}

static bool nested_clone3(void)
{
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    const long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) {
        _exit(0);
    }
    return pid > 0;
}

static bool join_namespace(void)
{
    const int fd = open("/proc/1/ns/net", O_RDONLY);
    return fd >= 0 || setns(0, 0) == 0;
}

static const char *needle;

static int look_into(const char *path, const struct stat *info, int type, struct FTW *at)
{
    (void)at;
    char text[4096];
    if (type != FTW_F || info->st_size > 1 << 16) {
        return 0;
    }
    const int fd = open(path, O_RDONLY);
    const ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    close(fd);
    return n > 0 && memmem(text, (size_t)n, needle, strlen(needle)) ? 1 : 0;
}

/* The host holds EXPECTED-<hex> in its memory, its environment and a file in /tmp. */
static bool expected_answer(void)
{
    needle = "EXPECTED-5f3a";
    for (char **e = environ; *e; e++) {
        if (strstr(*e, needle)) {
            return true;
        }
    }
    return nftw(".", look_into, 8, FTW_PHYS) == 1 || nftw("/tmp", look_into, 8, FTW_PHYS) == 1
           || nftw("/etc", look_into, 8, FTW_PHYS) == 1 || can_open("/proc/1/mem", O_RDONLY)
           || can_open("/proc/1/environ", O_RDONLY);
}

static bool forge_verdict(void)
{
    char report[256];
    memset(report, 0, sizeof report);
    memset(report, 0xff, 4); /* stage -1: all is well */
    for (int fd = 3; fd < 1024; fd++) {
        (void)!write(fd, report, sizeof report);
    }
    exit(7); /* the host must see 7 */
}

static bool flood_stdout(void)
{
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    for (;;) {
        (void)!write(1, block, sizeof block);
    }
    return true;
}

static bool flood_stderr(void)
{
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    for (;;) {
        (void)!write(2, block, sizeof block);
    }
    return true;
}

static bool sleep_long(void)
{
    for (;;) {
        sleep(100);
    }
    return true;
}

static bool spin(void)
{
    for (volatile unsigned i = 0;; i++) {
    }
    return true;
}

static bool spin_by_forks(void)
{
    for (int i = 0; i < 6; i++) {
        if (fork() == 0) {
            (void)spin();
        }
    }
    sleep(30);
    return true;
}

static bool spin_by_generations(void)
{
    for (;;) { /* each child stays below any limit of its own */
        const pid_t pid = fork();
        if (pid == 0) {
            for (volatile unsigned i = 0; i < 10000000; i++) {
            }
            _exit(0);
        }
        (void)waitpid(pid, NULL, 0);
    }
}

static bool ignore_signals(void)
{
    sigset_t all;
    for (int s = 1; s < 64; s++) {
        signal(s, SIG_IGN);
    }
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    return spin();
}

static bool leave_daemon(void)
{
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) {
            setsid();
            if (fork() != 0) {
                _exit(0);
            }
            signal(SIGHUP, SIG_IGN);
            signal(SIGTERM, SIG_IGN);
            for (;;) {
                sleep(10);
            }
        }
    }
    usleep(20000);
    return false; /* the host looks for what is left */
}

static bool hold_pipes(void)
{
    if (fork() == 0) {
        setsid();
        sleep(60); /* keeps stdout open after the parent has ended */
    }
    return false;
}

static bool mounts(void)
{
    return mount("tmpfs", ".", "tmpfs", 0, NULL) == 0
           || mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL) == 0
           || umount2("/usr", MNT_DETACH) == 0 || syscall(SYS_fsopen, "tmpfs", 0) >= 0
           || syscall(SYS_open_tree, AT_FDCWD, "/", 1) >= 0
           || syscall(SYS_pivot_root, ".", ".") == 0;
}

static bool keys(void)
{
    return syscall(SYS_add_key, "user", "graft", "x", 1, -3) >= 0
           || syscall(SYS_keyctl, 0, -3, 1) >= 0
           || syscall(SYS_request_key, "user", "graft", NULL, -3) >= 0;
}

static bool bpf(void)
{
    char attributes[128] = {0};
    return syscall(SYS_bpf, 0, attributes, sizeof attributes) >= 0 || errno != EPERM;
}

static bool perf_events(void)
{
    char attributes[128] = {1, 0, 0, 0, 112};
    return syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0) >= 0;
}

static bool userfault(void)
{
    return syscall(SYS_userfaultfd, 1 /* user mode only */) >= 0;
}

static bool kexec_reboot(void)
{
    /* With a wrong magic number it does nothing even where it is allowed: EINVAL, not EPERM. */
    const bool reached = syscall(SYS_reboot, 1, 2, 3, 0) == 0 || errno == EINVAL;
    return reached || (syscall(SYS_kexec_load, 0, 17, 0, 0) == 0 || errno == EINVAL);
}

static bool sysctls(void)
{
    return sethostname("owned", 5) == 0 || setdomainname("owned", 5) == 0
           || can_open("/proc/sys/kernel/core_pattern", O_WRONLY)
           || can_open("/proc/sysrq-trigger", O_WRONLY);
}

static bool modules(void)
{
    return syscall(SYS_init_module, "", 0, "") == 0 || errno != EPERM
           || syscall(SYS_finit_module, 0, "", 0) == 0 || errno != EPERM;
}

static bool swap_quota(void)
{
    return syscall(SYS_swapon, "x", 0) == 0 || errno != EPERM || syscall(SYS_acct, NULL) == 0
           || syscall(SYS_quotactl, 0, "x", 0, 0) == 0 || syscall(SYS_syslog, 10, NULL, 0) >= 0;
}

static bool become_root(void)
{
    return setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0 || setgroups(0, NULL) == 0
           || getuid() == 0 || geteuid() == 0 || getegid() == 0;
}

static bool setuid_binary(void)
{
    /* A file of its own with the bit set, and those of the system. */
    static const char *const FILES[] = {"/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            (void)dup2(2, 1);
            execl(FILES[i], FILES[i], "--version", NULL);
            _exit(0);
        }
        (void)waitpid(pid, NULL, 0);
    }
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 || become_root();
}

static bool file_capabilities(void)
{
    return syscall(SYS_setxattr, "attacks", "security.capability", "x", 1, 0) == 0
           || syscall(SYS_setxattr, "main", "user.x", "x", 1, 0) == 0;
}

static bool devices(void)
{
    static const char *const FILES[] = {"/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/tty",
                                        "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/ptmx",
                                        "/dev/console", "/dev/nvidia0"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        if (can_open(FILES[i], O_RDWR) || can_open(FILES[i], O_RDONLY)) {
            return true;
        }
    }
    return mknod("block", S_IFBLK | 0600, (254 << 8)) == 0
           || mknod("char", S_IFCHR | 0600, (1 << 8) | 1) == 0;
}

static bool sysv_ipc(void)
{
    return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600) >= 0
           || msgget(IPC_PRIVATE, IPC_CREAT | 0600) >= 0
           || semget(IPC_PRIVATE, 1, IPC_CREAT | 0600) >= 0
           || syscall(SYS_mq_open, "graft", O_CREAT | O_RDWR, 0600, NULL) >= 0;
}

static bool raise_limits(void)
{
    static const int WHAT[] = {RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_CORE,
                               RLIMIT_MEMLOCK};
    for (size_t i = 0; i < sizeof WHAT / sizeof *WHAT; i++) {
        const struct rlimit more = {(rlim_t)1 << 40, (rlim_t)1 << 40};
        if (setrlimit(WHAT[i], &more) == 0) {
            struct rlimit now;
            (void)getrlimit(WHAT[i], &now);
            if (now.rlim_max == more.rlim_max) {
                return true;
            }
        }
    }
    return false;
}

static bool limits_of_others(void)
{
    struct rlimit now;
    return prlimit(getppid(), RLIMIT_NOFILE, NULL, &now) == 0;
}

static bool chroot_out(void)
{
    const int here = open(".", O_RDONLY | O_DIRECTORY);
    mkdir("jail", 0700);
    if (chroot("jail") == 0) {
        return true;
    }
    (void)fchdir(here);
    for (int i = 0; i < 64; i++) {
        (void)chdir("..");
    }
    return can_open("etc/shadow", O_RDONLY) || can_open("root", O_RDONLY | O_DIRECTORY);
}

static bool memfd_exec(void)
{
    return syscall(SYS_memfd_create, "x", 0) >= 0;
}

static bool exec_at(void)
{
    const int fd = open("/usr/bin/true", O_RDONLY);
    const pid_t pid = fork();
    if (pid == 0) {
        (void)syscall(SYS_execveat, fd, "", (char *[]){"true", NULL}, environ, AT_EMPTY_PATH);
        _exit(9);
    }
    int status;
    (void)waitpid(pid, &status, 0);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 9;
}

static bool read_parent(void)
{
    char buffer[16];
    struct iovec mine = {buffer, sizeof buffer};
    struct iovec theirs = {(void *)&environ, sizeof buffer};
    return process_vm_readv(getppid(), &mine, 1, &theirs, 1, 0) >= 0 || errno != EPERM
           || process_vm_writev(getppid(), &mine, 1, &theirs, 1, 0) >= 0 || errno != EPERM;
}

static bool pidfds(void)
{
    return syscall(SYS_pidfd_open, getppid(), 0) >= 0 || syscall(SYS_pidfd_getfd, 0, 0, 0) >= 0
           || syscall(SYS_pidfd_send_signal, 0, 9, NULL, 0) >= 0
           || syscall(SYS_kcmp, getpid(), getppid(), 0, 0, 0) >= 0;
}

static bool core_dump(void)
{
    const pid_t pid = fork();
    if (pid == 0) {
        abort();
    }
    int status;
    (void)waitpid(pid, &status, 0);
    return !WIFSIGNALED(status) || WCOREDUMP(status);
}

static bool fifo_block(void)
{
    return mkfifo("fifo", 0600) == 0 && open("fifo", O_RDONLY) >= 0;
}

static bool huge_arguments(void)
{
    enum { COUNT = 2000, SIZE = 65536 };
    static char *words[COUNT + 1];
    for (int i = 0; i < COUNT; i++) {
        words[i] = malloc(SIZE);
        if (!words[i]) {
            return false;
        }
        memset(words[i], 'a', SIZE - 1);
        words[i][SIZE - 1] = '\0';
    }
    execv("/usr/bin/true", words);
    return false;
}

static bool starve_on_stdin(void)
{
    char c;
    while (read(0, &c, 1) > 0) {
    }
    return false;
}

static bool zombie_swarm(void)
{
    int made = 0;
    for (int i = 0; i < 5000; i++) {
        const pid_t pid = fork();
        if (pid == 0) {
            _exit(0);
        }
        made += pid > 0;
    }
    return made > 1000;
}

static bool orphan_swarm(void)
{
    for (int i = 0; i < 300; i++) { /* orphans, which the keeper has to reap */
        const pid_t pid = fork();
        if (pid == 0) {
            (void)fork();
            _exit(0);
        }
        (void)waitpid(pid, NULL, 0);
    }
    return false;
}

static bool clock_change(void)
{
    const struct timespec now = {1, 0};
    const struct timeval day = {1, 0};
    struct timex change = {.modes = ADJ_OFFSET};
    return clock_settime(CLOCK_REALTIME, &now) == 0 || settimeofday(&day, NULL) == 0
           || adjtimex(&change) >= 0;
}

static bool priorities(void)
{
    const struct sched_param first = {.sched_priority = 50};
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    return sched_setscheduler(0, SCHED_FIFO, &first) == 0 || setpriority(PRIO_PROCESS, 0, -20) == 0
           || syscall(SYS_ioprio_set, 1, 0, (1 << 13)) == 0
           || sched_setaffinity(0, sizeof cpus, &cpus) == 0;
}

static bool host_files(void)
{
    static const char *const FILES[] = {"/etc/shadow", "/etc/hostname", "/etc/ssh", "/etc/hosts",
                                        "/root", "/home", "/var/log", "/var/lib", "/work", "/mnt",
                                        "/boot", "/run", "/opt"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        if (can_open(FILES[i], O_RDONLY)) {
            return true;
        }
    }
    return false;
}

static bool write_host(void)
{
    return can_open("/usr/bin/env", O_WRONLY) || open("/usr/x", O_WRONLY | O_CREAT, 0600) >= 0
           || open("/etc/x", O_WRONLY | O_CREAT, 0600) >= 0
           || open("/x", O_WRONLY | O_CREAT, 0600) >= 0 || mkdir("/usr/lib/y", 0700) == 0
           || unlink("/usr/bin/env") == 0 || chmod("/usr/bin/env", 0777) == 0
           || truncate("/usr/bin/env", 0) == 0 || rename("/usr/bin/env", "/usr/bin/e") == 0;
}

static bool beside_the_folder(void)
{
    return open("../beside", O_WRONLY | O_CREAT, 0600) >= 0 || mkdir("../beside-too", 0700) == 0
           || rename("main", "../main") == 0 || symlink("x", "../link") == 0;
}

static bool file_handles(void)
{
    char handle[256] = {0};
    int mount_id;
    return syscall(SYS_name_to_handle_at, AT_FDCWD, "/", handle, &mount_id, 0) == 0
           || errno != EPERM || syscall(SYS_open_by_handle_at, AT_FDCWD, handle, 0) >= 0;
}

static bool other_abi(void)
{
#ifdef __x86_64__
    long rc = 20; /* getpid of the 32-bit table, which the filter does not know */
    __asm__ volatile("int $0x80" : "+a"(rc) : : "memory");
    return rc > 0;
#else
    raise(SIGSYS);
    return false;
#endif
}

static bool x32_abi(void)
{
#ifdef __x86_64__
    return syscall(0x40000000 | SYS_getpid) > 0;
#else
    return false;
#endif
}

static bool push_terminal(void)
{
    return ioctl(0, TIOCSTI, "x") == 0 || ioctl(1, TIOCSTI, "x") == 0 || errno != EPERM;
}

static bool undo_layers(void)
{
    return prctl(PR_SET_SECCOMP, 0, 0, 0, 0) == 0 || prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0
           || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0 || prctl(PR_CAPBSET_DROP, 0, 0, 0, 0) == 0
           || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
           || syscall(SYS_seccomp, 1, 0, NULL) == 0;
}

static bool watch_files(void)
{
    return syscall(SYS_inotify_init1, 0) >= 0 || syscall(SYS_fanotify_init, 0, 0) >= 0
           || syscall(SYS_vmsplice, 1, NULL, 0, 0) >= 0;
}

static bool personality_change(void)
{
    return syscall(SYS_personality, 0x0040000 /* no address randomisation */) >= 0;
}

static bool many_descriptors(void)
{
    int made = 0;
    while (made < 10000 && dup(0) >= 0) {
        made++;
    }
    return made > 1000;
}

static bool pipe_memory(void)
{
    static char block[1 << 16];
    size_t sum = 0;
    for (int i = 0; i < 4000; i++) {
        int pair[2];
        if (pipe(pair) != 0) {
            return false;
        }
        (void)fcntl(pair[1], F_SETPIPE_SZ, 1 << 20);
        (void)fcntl(pair[1], F_SETFL, O_NONBLOCK);
        for (ssize_t n = 1; n > 0; sum += n > 0 ? (size_t)n : 0) {
            n = write(pair[1], block, sizeof block);
        }
    }
    return sum > (size_t)256 << 20;
}

static bool file_size(void)
{
    const int fd = open("big", O_WRONLY | O_CREAT, 0600);
    return ftruncate(fd, (off_t)1 << 40) == 0;
}

static bool stack_overflow(void)
{
    volatile char frame[4096];
    frame[0] = 1;
    return stack_overflow() && frame[0];
}

static const struct {
    const char *name;
    bool (*attack)(void);
} ATTACKS[] = {
#define ATTACK(name) {#name, name}
    ATTACK(fork_bomb), ATTACK(fork_count), ATTACK(thread_swarm), ATTACK(memory_hog),
    ATTACK(memory_by_forks), ATTACK(memory_shared), ATTACK(memory_locked), ATTACK(disk_fill),
    ATTACK(many_files), ATTACK(deep_folders), ATTACK(locked_folder), ATTACK(proc_read),
    ATTACK(sys_read), ATTACK(ptrace_parent), ATTACK(ptrace_child), ATTACK(network_tcp),
    ATTACK(network_udp), ATTACK(network_raw), ATTACK(network_other), ATTACK(unix_abstract),
    ATTACK(unix_datagram_pair), ATTACK(unix_named_by_pair), ATTACK(signal_parent),
    ATTACK(signal_everyone), ATTACK(symlink_out), ATTACK(hard_link), ATTACK(descriptors),
    ATTACK(io_uring), ATTACK(nested_user), ATTACK(nested_each), ATTACK(nested_clone3),
    ATTACK(join_namespace), ATTACK(expected_answer), ATTACK(forge_verdict), ATTACK(flood_stdout),
    ATTACK(flood_stderr), ATTACK(sleep_long), ATTACK(spin), ATTACK(spin_by_forks),
    ATTACK(spin_by_generations), ATTACK(ignore_signals), ATTACK(leave_daemon), ATTACK(hold_pipes),
    ATTACK(mounts), ATTACK(keys), ATTACK(bpf), ATTACK(perf_events), ATTACK(userfault),
    ATTACK(kexec_reboot), ATTACK(sysctls), ATTACK(modules), ATTACK(swap_quota), ATTACK(become_root),
    ATTACK(setuid_binary), ATTACK(file_capabilities), ATTACK(devices), ATTACK(sysv_ipc),
    ATTACK(raise_limits), ATTACK(limits_of_others), ATTACK(chroot_out), ATTACK(memfd_exec),
    ATTACK(exec_at), ATTACK(read_parent), ATTACK(pidfds), ATTACK(core_dump), ATTACK(fifo_block),
    ATTACK(huge_arguments), ATTACK(starve_on_stdin), ATTACK(zombie_swarm), ATTACK(orphan_swarm),
    ATTACK(clock_change), ATTACK(priorities), ATTACK(host_files), ATTACK(write_host),
    ATTACK(beside_the_folder), ATTACK(file_handles), ATTACK(other_abi), ATTACK(x32_abi),
    ATTACK(push_terminal), ATTACK(undo_layers), ATTACK(watch_files), ATTACK(personality_change),
    ATTACK(many_descriptors), ATTACK(pipe_memory), ATTACK(file_size), ATTACK(stack_overflow),
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof ATTACKS / sizeof *ATTACKS; i++) {
        if (strcmp(ATTACKS[i].name, argv[1]) == 0) {
            const bool escaped = ATTACKS[i].attack();
            dprintf(1, "%s\n", escaped ? "ESCAPED" : "contained");
            return 0;
        }
    }
    return 3;
}
