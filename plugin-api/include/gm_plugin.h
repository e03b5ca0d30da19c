/*
 * gm_plugin.h: functions for gm-native in C.
 *
 * A shared library `word_count.so` in a manager's worker_dir serves the Gearman function `word_count`:
 *
 *     #include "gm_plugin.h"
 *
 *     GM_FUNCTION(word_count) {
 *         const char *text = gm_workload(job);
 *         size_t words = 0;
 *         for (size_t i = 0, inside = 0; i < gm_workload_size(job); i++) {
 *             int letter = text[i] > ' ';
 *             words += letter && !inside;
 *             inside = letter;
 *         }
 *         return gm_resultf(job, "%zu", words);
 *     }
 *
 *     cc -O2 -g -fPIC -shared -o word_count.so word_count.c
 *
 * C99, and valid C++. It needs the C library and nothing to link against. C++ has gm_plugin.hpp.
 *
 * What holds for all of it:
 *
 * - create, run and destroy are called on one thread, one call at a time. gm_result and its relatives work on that
 *   thread and during run only. gm_status, gm_data, gm_warning, gm_log and gm_stopping work on any thread.
 * - Sizes are in bytes. Texts are UTF-8; other bytes are replaced where they are logged.
 * - A gm_job is valid until run returns, and a gm_context until create returns. A call with one that is no longer
 *   valid, or with NULL, does nothing, and the manager logs it.
 * - A job that is given two results fails, and so does one whose result is NULL with a size above 0.
 * - A crash, exit() or abort() in a function ends the worker process. The manager starts another, and the job runs again
 *   (see the key on_crash).
 *
 * Interface version 1.0. docs/plugin-interface.md says what may change.
 */
#ifndef GM_PLUGIN_H
#define GM_PLUGIN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A manager loads libraries of its own major version and of every minor version up to its own. */
#define GM_INTERFACE_MAJOR 1
#define GM_INTERFACE_MINOR 0

/* Levels of log records: the smaller the more severe. */
enum gm_level { GM_ERROR = 1, GM_WARN = 2, GM_INFO = 3, GM_DEBUG = 4, GM_TRACE = 5 };

typedef struct gm_job gm_job;
typedef struct gm_context gm_context;

/*
 * What the worker offers. Call the functions below instead: they are the same with fewer arguments. The table is there
 * until the process ends. It only grows at its end; `size` says how much of it there is.
 */
typedef struct gm_host {
    size_t size;
    int (*status)(const gm_job *job, uint64_t done, uint64_t of);
    int (*data)(const gm_job *job, const void *bytes, size_t size);
    int (*warning)(const gm_job *job, const void *bytes, size_t size);
    int (*stopping)(const gm_job *job);
    int (*log_wanted)(int level);
    void (*log)(const gm_job *job, int level, const char *text, size_t size);
    int (*result)(gm_job *job, const void *bytes, size_t size);
    int (*result_owned)(gm_job *job, void *bytes, size_t size, void (*release)(void *bytes));
    int (*fail)(gm_job *job, const char *message, size_t size);
    int (*exception)(gm_job *job, const void *bytes, size_t size);
    const char *(*setting)(const gm_context *context, const char *name);
    const char *(*setting_at)(const gm_context *context, size_t index, const char **name);
    int (*create_failed)(gm_context *context, const char *message, size_t size);
} gm_host;

/* One job. Read it with the functions below. */
struct gm_job {
    size_t size;
    const gm_host *host;
    uint64_t number;
    const char *workload;
    size_t workload_size;
    const char *handle;
    size_t handle_size;
    const char *unique;
    size_t unique_size;
    const char *function;
};

/* What create is given. Read it with the functions below. */
struct gm_context {
    size_t size;
    const gm_host *host;
    const char *function;
};

/*
 * What a library exports for each function, as a const object with the function's name. GM_FUNCTION and GM_OBJECT write
 * it.
 */
typedef struct gm_plugin {
    char magic[32];
    uint32_t size;
    uint16_t interface_major;
    uint16_t interface_minor;
    const char *name;
    const char *version;
    const char *compiler;
    int (*create)(gm_context *context, void **state);
    int (*run)(void *state, gm_job *job);
    void (*destroy)(void *state);
} gm_plugin;

/* ---- The job ---------------------------------------------------------------------------------------------------- */

/* The workload. Never NULL; not terminated by a NUL. Valid until run returns. */
static inline const char *gm_workload(const gm_job *job) { return job->workload; }

/* Its size in bytes. */
static inline size_t gm_workload_size(const gm_job *job) { return job->workload_size; }

/* The job server's handle. Not terminated by a NUL: printf("%.*s", (int)gm_handle_size(job), gm_handle(job)). */
static inline const char *gm_handle(const gm_job *job) { return job->handle; }

/* Its size in bytes. */
static inline size_t gm_handle_size(const gm_job *job) { return job->handle_size; }

/* The client's unique id, which may be empty. Not terminated by a NUL. */
static inline const char *gm_unique(const gm_job *job) { return job->unique; }

/* Its size in bytes. */
static inline size_t gm_unique_size(const gm_job *job) { return job->unique_size; }

/* The function's name with the job servers, terminated by a NUL. */
static inline const char *gm_function(const gm_job *job) { return job->function; }

/*
 * Tells the job's caller how far the work is: `done` of `of`. Returns 1, or 0 where it was refused: the job is over, or
 * its connection is gone. It does not wait: while an earlier packet has no room, the report is dropped.
 */
static inline int gm_status(const gm_job *job, uint64_t done, uint64_t of) {
    return job ? job->host->status(job, done, of) : 0;
}

/*
 * Sends a part of the result ahead of its end. Returns 1, or 0 where it was refused: the job is over, its connection is
 * gone, or the part is larger than max_packet. It may wait for the job server, at most 60 seconds.
 */
static inline int gm_data(const gm_job *job, const void *bytes, size_t size) {
    return job ? job->host->data(job, bytes, size) : 0;
}

/* Sends a warning to the job's caller. As gm_data. */
static inline int gm_warning(const gm_job *job, const void *bytes, size_t size) {
    return job ? job->host->warning(job, bytes, size) : 0;
}

/* 1 once the worker is asked to stop: long work should then end early. Cheap enough for each turn of a loop. */
static inline int gm_stopping(const gm_job *job) { return job ? job->host->stopping(job) : 1; }

/* ---- How a job ends --------------------------------------------------------------------------------------------- */
/* All of these return what run should return, so that `return gm_result(...);` ends the job. */

/* The result: a copy of these bytes. */
static inline int gm_result(gm_job *job, const void *bytes, size_t size) {
    return job ? job->host->result(job, bytes, size) : 1;
}

/* The result: a copy of this text. */
static inline int gm_result_text(gm_job *job, const char *text) {
    return gm_result(job, text, text ? strlen(text) : 0);
}

/*
 * The result: these bytes themselves, which are sent without being copied. They now belong to the worker. It calls
 * release(bytes) once, on any thread, when they are sent or not needed: `free` for memory of malloc. A call that is
 * refused releases them, too. NULL with a size of 0 is an empty result, and is not released.
 */
static inline int gm_result_owned(gm_job *job, void *bytes, size_t size, void (*release)(void *bytes)) {
    if (job) return job->host->result_owned(job, bytes, size, release);
    if (release) release(bytes);
    return 1;
}

/*
 * The job fails. The message is logged, and sent to the caller as a warning, before the failure. run may also return
 * anything but 0 without this; the message then says what it returned.
 */
static inline int gm_fail(gm_job *job, const char *message) {
    return job ? job->host->fail(job, message, message ? strlen(message) : 0) : 1;
}

/*
 * The job fails, and its caller gets an exception with these bytes. Only clients that asked for exceptions understand
 * one, such as PHP's; the gearman command-line client waits for ever. Where in doubt use gm_fail.
 */
static inline int gm_exception(gm_job *job, const void *bytes, size_t size) {
    return job ? job->host->exception(job, bytes, size) : 1;
}

/* ---- The same with formats -------------------------------------------------------------------------------------- */

#if defined(__GNUC__)
#define GM_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define GM_PRINTF(text, first)
#endif

/* Internal. */
#ifdef __cplusplus
#define GM_SIZE_(length) static_cast<size_t>(length)
#else
#define GM_SIZE_(length) (size_t)(length)
#endif

/* Texts made from formats are cut at this size. */
#define GM_TEXT 1024

/* Internal: makes the text of the calling function's format. */
#define GM_FORMAT_(text, size, format)                                                                                 \
    do {                                                                                                               \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        (size) = gm_format_(text, format, arguments);                                                                  \
        va_end(arguments);                                                                                             \
    } while (0)

/* Internal. */
static inline size_t gm_format_(char *text, const char *format, va_list arguments) {
    int length = vsnprintf(text, GM_TEXT, format, arguments);
    if (length < 0) return 0;
    return GM_SIZE_(length < GM_TEXT ? length : GM_TEXT - 1);
}

/* The result: a text from a format, at most GM_TEXT - 1 bytes long. */
GM_PRINTF(2, 3) static inline int gm_resultf(gm_job *job, const char *format, ...) {
    char text[GM_TEXT];
    size_t size;
    GM_FORMAT_(text, size, format);
    return gm_result(job, text, size);
}

/* The job fails, with a message from a format. */
GM_PRINTF(2, 3) static inline int gm_failf(gm_job *job, const char *format, ...) {
    char text[GM_TEXT];
    size_t size;
    GM_FORMAT_(text, size, format);
    return job ? job->host->fail(job, text, size) : 1;
}

/* A record for the manager's log, with the job's function and handle. Costs a call and a comparison if not wanted. */
GM_PRINTF(3, 4) static inline void gm_log(const gm_job *job, enum gm_level level, const char *format, ...) {
    char text[GM_TEXT];
    size_t size;
    if (!job || !job->host->log_wanted(level)) return;
    GM_FORMAT_(text, size, format);
    job->host->log(job, level, text, size);
}

/* The same outside a job, such as from a thread of the plugin's own: with the host of the context or of a job. */
GM_PRINTF(3, 4) static inline void gm_host_log(const gm_host *host, enum gm_level level, const char *format, ...) {
    char text[GM_TEXT];
    size_t size;
    if (!host || !host->log_wanted(level)) return;
    GM_FORMAT_(text, size, format);
    host->log(NULL, level, text, size);
}

/* ---- Settings, for create --------------------------------------------------------------------------------------- */

/* The function's name with the job servers. Valid until the process ends. */
static inline const char *gm_context_function(const gm_context *context) { return context->function; }

/* The worker's functions, for gm_host_log. Valid until the process ends. */
static inline const gm_host *gm_context_host(const gm_context *context) { return context->host; }

/*
 * The value of `setting.NAME = VALUE` in the function's section, or NULL where it is not set. Valid until destroy
 * returns. A setting that create never asks for is reported as a mistake.
 */
static inline const char *gm_setting(const gm_context *context, const char *name) {
    return context ? context->host->setting(context, name) : NULL;
}

/*
 * All settings in turn: the value of the one at `index`, from 0, with its name in *name; NULL behind the last. Each that
 * is returned counts as read.
 */
static inline const char *gm_setting_at(const gm_context *context, size_t index, const char **name) {
    return context ? context->host->setting_at(context, index, name) : NULL;
}

/* create fails with this message. Returns what create should return. */
static inline int gm_create_failed(gm_context *context, const char *message) {
    return context ? context->host->create_failed(context, message, message ? strlen(message) : 0) : 1;
}

/* The same with a format. */
GM_PRINTF(2, 3) static inline int gm_create_failedf(gm_context *context, const char *format, ...) {
    char text[GM_TEXT];
    size_t size;
    GM_FORMAT_(text, size, format);
    return context ? context->host->create_failed(context, text, size) : 1;
}

/* ---- What a library exports ------------------------------------------------------------------------------------- */

/* Shown by `gm-native check` and in status. Define it before the include. */
#ifndef GM_PLUGIN_VERSION
#define GM_PLUGIN_VERSION ""
#endif

#if defined(__clang__)
#define GM_COMPILER __VERSION__
#elif defined(__GNUC__)
#define GM_COMPILER "gcc " __VERSION__
#else
#define GM_COMPILER ""
#endif

#if defined(__GNUC__)
#define GM_EXPORT __attribute__((visibility("default")))
#else
#define GM_EXPORT
#endif

#ifdef __cplusplus
#define GM_LINKAGE extern "C"
#define GM_NOEXCEPT_ noexcept
#else
#define GM_LINKAGE extern
#define GM_NOEXCEPT_
#endif

/* The first bytes of an entry. It is a list, since 32 characters without a NUL are no string in C++. */
#define GM_MAGIC                                                                                                       \
    {                                                                                                                  \
        'g', 'm', '-', 'n', 'a', 't', 'i', 'v', 'e', ' ', 'p', 'l', 'u', 'g', 'i', 'n', ' ', 'e', 'n', 't', 'r', 'y',  \
            ' ', 'f', 'o', 'r', ' ', 'C', ' ', ' ', ' ', ' '                                                           \
    }

/*
 * A function with state:
 *
 *     int create(gm_context *context, void **state)   once, when a worker starts, before its first job. It sets *state
 *                                                     and returns 0, or fails with gm_create_failed. It may take up to
 *                                                     start_timeout.
 *     int run(void *state, gm_job *job)               for each job, one at a time; as above
 *     void destroy(void *state)                       once, when the worker ends; NULL if there is nothing to do. It may
 *                                                     take up to stop_timeout. Not called where create failed.
 *
 * `create` may be NULL where there is no state; then `destroy` is NULL, too.
 */
#define GM_OBJECT(name, create, run, destroy)                                                                          \
    GM_LINKAGE GM_EXPORT const gm_plugin name;                                                                         \
    const gm_plugin name = {GM_MAGIC,                                                                                  \
                            sizeof(gm_plugin),                                                                         \
                            GM_INTERFACE_MAJOR,                                                                        \
                            GM_INTERFACE_MINOR,                                                                        \
                            #name,                                                                                     \
                            GM_PLUGIN_VERSION,                                                                         \
                            GM_COMPILER,                                                                               \
                            create,                                                                                    \
                            run,                                                                                       \
                            destroy}

/*
 * A function without state. Its body follows; `job` is the job. It returns 0, and the result is what gm_result was given
 * (empty without that), or anything else, and the job fails.
 *
 * `name` is the function's and the library's name, so no C function of the library can have it. In C++ an exception that
 * leaves the body ends the worker, with its type and what() in the log; gm_plugin.hpp makes a failure of it.
 */
#define GM_FUNCTION(name)                                                                                              \
    static int gm_run_##name(gm_job *job);                                                                             \
    static int gm_call_##name(void *state, gm_job *job) GM_NOEXCEPT_ {                                                 \
        (void)state;                                                                                                   \
        return gm_run_##name(job);                                                                                     \
    }                                                                                                                  \
    GM_OBJECT(name, NULL, gm_call_##name, NULL);                                                                       \
    static int gm_run_##name(gm_job *job)

#ifdef __cplusplus
}
#endif

#endif
