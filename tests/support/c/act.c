/* A function that does what C lets it do, and what the worker has to survive. */
#include <gm_plugin.h>
#include <signal.h>
#include <stdlib.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LARGE 30000000

static volatile int *nowhere;

static void crash(void *bytes) {
    (void)bytes;
    *nowhere = 1; /* release */
}

static void hang(void *bytes) {
    (void)bytes;
    for (;;) pause();
}

static void stop(void *bytes) {
    (void)bytes;
    raise(SIGSTOP);
}

static void *map(size_t size) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* No system call works any more, but that a signal handler returns. */
static void sandbox(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
    };
    struct sock_fprog filter = {4, rules};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

GM_FUNCTION(act) {
    char how[64] = "";
    size_t size = gm_workload_size(job);
    void *bytes;
    memcpy(how, gm_workload(job), size < sizeof how ? size : sizeof how - 1);
#define CASE(name) if (strcmp(how, name) == 0)
    CASE("pid") return gm_resultf(job, "%d", (int)getpid());
    CASE("descriptors") {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_NOFILE, &none);
        return gm_result_text(job, "lowered");
    }
    CASE("out of descriptors") {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_NOFILE, &none);
        *nowhere = 1;
    }
    CASE("stack") {
        char code[64];
        memset(code, 0x90, sizeof code);
        ((void (*)(void))(void *)code)(); /* stack */
    }
    CASE("sandbox fault") {
        sandbox();
        *nowhere = 1;
    }
    CASE("sandbox abort") {
        sandbox();
        abort();
    }
    CASE("sandbox trap") {
        sandbox();
        __builtin_trap();
    }
    CASE("alarm") raise(SIGALRM);
    CASE("ignored") {
        signal(SIGSEGV, SIG_IGN);
        *nowhere = 1;
    }
    CASE("unmapped result") return gm_result_owned(job, (void *)0x1234, 100, NULL); /* unmapped result */
    CASE("unmapped data") return gm_data(job, (void *)0x1234, 100); /* unmapped data */
    CASE("freed result") {
        bytes = map(1 << 20);
        gm_result_owned(job, bytes, 1 << 20, NULL);
        munmap(bytes, 1 << 20);
        return 0;
    }
    CASE("crash after") return gm_result_owned(job, strdup("x"), 1, crash);
    CASE("crash after much") return gm_result_owned(job, map(LARGE), LARGE, crash);
    CASE("hang after") return gm_result_owned(job, strdup("x"), 1, hang);
    /* Longer than max_packet: it is freed before the answer is sent. */
    CASE("stop before the answer") return gm_result_owned(job, map(LARGE), LARGE, stop);
    CASE("hang before the answer") return gm_result_owned(job, map(LARGE), LARGE, hang);
    CASE("huge result") return gm_result(job, "x", (size_t)1 << 40);
    CASE("huge exception") return gm_exception(job, "x", (size_t)1 << 40);
    CASE("huge handed over") return gm_result_owned(job, how, (size_t)1 << 40, NULL);
    CASE("huge data") return gm_resultf(job, "%d", gm_data(job, "x", (size_t)1 << 40));
    CASE("no message") return gm_fail(job, NULL);
    return gm_fail(job, "no such case");
}
