/* Preloaded into a manager: where its loop waits next after SIGRTMAX - 1, it writes how many bytes of its heap are in use to
   the file that GM_HEAP_METER names. Not in the handler, which may have interrupted malloc. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

static volatile sig_atomic_t asked;

static void ask(int signal) {
    (void)signal;
    asked = 1;
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action = {.sa_handler = ask};
    sigaction(SIGRTMAX - 1, &action, NULL);
}

static void answer(void) {
    const char *path = getenv("GM_HEAP_METER");
    struct mallinfo2 heap = mallinfo2();
    char part[4096];
    FILE *file;
    if (path == NULL || snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return;
    file = fopen(part, "w");
    if (file == NULL)
        return;
    fprintf(file, "%zu", heap.uordblks + heap.hblkhd);
    fclose(file);
    rename(part, path);
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
    static int (*next)(int, struct epoll_event *, int, int);
    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "epoll_wait");
    if (asked) {
        asked = 0;
        answer();
    }
    return next(epoll, events, most, timeout);
}
