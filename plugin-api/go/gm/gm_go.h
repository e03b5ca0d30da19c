/*
 * gm_go.h: the entry of a function in Go, which Go itself cannot export. In the preamble of `import "C"` of package main:
 *
 *     // #cgo CFLAGS: -I${SRCDIR}/gm
 *     // #include "gm_go.h"
 *     // GM_GO_FUNCTION(word_count);
 *     import "C"
 *
 * The rest is in package gm.
 */
#ifndef GM_GO_H
#define GM_GO_H

#include "gm_plugin.h"

/* Package gm exports them. Weak, since cgo links each package alone before it links all of them. */
extern int gmGoCreate(char *name, gm_context *context, void **state) __attribute__((weak));
extern int gmGoRun(void *state, gm_job *job) __attribute__((weak));
extern int gmGoRunFunction(char *name, gm_job *job) __attribute__((weak));
extern void gmGoDestroy(void *state) __attribute__((weak));

/* The entry of a function that was registered with gm.Function. */
#define GM_GO_FUNCTION(name)                                                                                           \
    static int gm_go_run_##name(void *state, gm_job *job) {                                                            \
        (void)state;                                                                                                   \
        return gmGoRunFunction((char *)#name, job);                                                                    \
    }                                                                                                                  \
    GM_OBJECT(name, NULL, gm_go_run_##name, NULL)

/* The entry of a function with state that was registered with gm.New. */
#define GM_GO_OBJECT(name)                                                                                             \
    static int gm_go_create_##name(gm_context *context, void **state) {                                                \
        return gmGoCreate((char *)#name, context, state);                                                              \
    }                                                                                                                  \
    static int gm_go_run_##name(void *state, gm_job *job) { return gmGoRun(state, job); }                              \
    static void gm_go_destroy_##name(void *state) { gmGoDestroy(state); }                                              \
    GM_OBJECT(name, gm_go_create_##name, gm_go_run_##name, gm_go_destroy_##name)

/* For package gm, which cannot call a function with a format. */
static inline void gm_go_log(const gm_job *job, int level, const char *text, size_t size) {
    if (job->host->log_wanted(level)) job->host->log(job, level, text, size);
}

static inline int gm_go_fail(gm_job *job, const char *text, size_t size) { return job->host->fail(job, text, size); }

static inline int gm_go_create_failed(gm_context *context, const char *text, size_t size) {
    return context->host->create_failed(context, text, size);
}

#endif
