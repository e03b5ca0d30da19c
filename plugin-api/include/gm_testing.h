/*
 * gm_testing.h: runs functions in C and C++ in a test's own process, as a worker would, without gm-native or a job server.
 *
 *     #include <assert.h>
 *     #include <gm_testing.h>
 *
 *     GM_TESTED(word_count);
 *
 *     int main(void) {
 *         gm_test *test = gm_test_new(&word_count);
 *         assert(gm_test_run_text(test, "three short words"));
 *         assert(strcmp(gm_test_result(test), "3") == 0);
 *         gm_test_free(test);
 *         return 0;
 *     }
 *
 *     cc -g -fsanitize=address -o test test.c word_count.c && ./test
 *
 * C99, and valid C++. It works with assert and with every test framework. A misuse fails the job with the sentence that a
 * worker has for it. What a plugin does to memory, a sanitizer finds: a workload is in a block of its own, of exactly its
 * size, which is freed when the job ends, and so is a result that was handed over.
 *
 * One thread works with a gm_test; the function may use threads as gm_plugin.h allows. Texts that are returned are valid
 * until the next call with the same gm_test that runs something or frees it.
 */
#ifndef GM_TESTING_H
#define GM_TESTING_H

#include "gm_plugin.h"

#include <stdlib.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Declares the entry that GM_FUNCTION, GM_OBJECT or GM_CLASS of another file makes. */
#define GM_TESTED(name) GM_LINKAGE const gm_plugin name

/* A function under test, with its settings and its state. */
typedef struct gm_test gm_test;

/* A growing text; a NUL follows. */
struct gm_test_text_ {
    char *bytes;
    size_t size;
};

struct gm_test_setting_ {
    char *name;
    char *value;
    int read;
};

struct gm_test {
    /* The first member, and the context behind it: the pointers that the function gets lead here. */
    gm_job job;
    gm_context context;
    gm_host host;
    const gm_plugin *plugin;
    void *state;
    int created;
    int stopping;
    uint64_t jobs;
    struct gm_test_setting_ *settings;
    size_t settings_count;
    struct gm_test_text_ result, failure, sent;
    int has_result, has_failed, has_exception, has_misuse;
    /* Guards `sent`, which any thread may add to. */
    char lock;
};

/* The test whose function runs on this thread, and the newest one, for records without a job. */
static __thread gm_test *gm_test_running_;
static gm_test *gm_test_newest_;

/* ---- Internal --------------------------------------------------------------------------------------------------- */

static inline void *gm_test_memory_(void *before, size_t size) {
    void *memory = realloc(before, size ? size : 1);
    if (memory) return memory;
    fputs("gm_testing.h: out of memory\n", stderr);
    abort();
}

static inline char *gm_test_copy_(const char *text) {
    const size_t size = strlen(text) + 1;
    return (char *)memcpy(gm_test_memory_(NULL, size), text, size);
}

static inline void gm_test_add_(struct gm_test_text_ *text, const void *bytes, size_t size) {
    text->bytes = (char *)gm_test_memory_(text->bytes, text->size + size + 1);
    if (size) memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
    text->bytes[text->size] = 0;
}

static inline void gm_test_set_text_(struct gm_test_text_ *text, const void *bytes, size_t size) {
    text->size = 0;
    gm_test_add_(text, bytes, size);
}

/* Adds a line to what was sent. On any thread. */
static inline void gm_test_line_(gm_test *test, const char *what, const void *bytes, size_t size) {
    while (__atomic_test_and_set(&test->lock, __ATOMIC_ACQUIRE)) {
    }
    gm_test_add_(&test->sent, what, strlen(what));
    gm_test_add_(&test->sent, bytes, size);
    gm_test_add_(&test->sent, "\n", 1);
    __atomic_clear(&test->lock, __ATOMIC_RELEASE);
}

/* The test of a job, while that runs. */
static inline gm_test *gm_test_of_(const gm_job *job, const char *call) {
    gm_test *test = (gm_test *)(void *)job;
    if (test->job.number) return test;
    gm_test_line_(test, "refused ", call, strlen(call));
    return NULL;
}

/* The same, for calls that only the thread of `run` may make. */
static inline gm_test *gm_test_of_run_(const gm_job *job, const char *call) {
    gm_test *test = (gm_test *)(void *)job;
    if (test == gm_test_running_) return test;
    gm_test_line_(test, "refused ", call, strlen(call));
    return NULL;
}

/* The job fails for something that is never right; the first such reason stays. */
static inline int gm_test_misuse_(gm_test *test, const char *reason) {
    if (!test->has_misuse) gm_test_set_text_(&test->failure, reason, strlen(reason));
    test->has_misuse = test->has_failed = 1;
    test->has_exception = 0;
    return 1;
}

/* Whether bytes can be used; otherwise the reason is in `reason`. */
static inline int gm_test_usable_(const char *call, const void *bytes, size_t size, char *reason) {
    if (size > UINT32_MAX) {
        snprintf(reason, GM_TEXT, "%s was given a size of %zu bytes, which is negative or too large", call, size);
    } else if (!bytes && size) {
        snprintf(reason, GM_TEXT, "%s was given NULL and a size of %zu bytes", call, size);
    } else {
        return 1;
    }
    return 0;
}

static inline int gm_test_status_(const gm_job *job, uint64_t done, uint64_t of) {
    char text[64];
    gm_test *test = gm_test_of_(job, "gm_status");
    if (!test) return 0;
    snprintf(text, sizeof text, "%llu of %llu", (unsigned long long)done, (unsigned long long)of);
    gm_test_line_(test, "status  ", text, strlen(text));
    return 1;
}

static inline int gm_test_part_(const gm_job *job, const char *call, const char *what, const void *bytes, size_t size) {
    char text[GM_TEXT];
    gm_test *test = gm_test_of_(job, call);
    if (!test) return 0;
    if (!gm_test_usable_(call, bytes, size, text)) {
        gm_test_line_(test, "ERROR   ", text, strlen(text));
        return 0;
    }
    gm_test_line_(test, what, bytes, size);
    return 1;
}

static inline int gm_test_data_(const gm_job *job, const void *bytes, size_t size) {
    char what[64];
    snprintf(what, sizeof what, "data    %zu bytes: ", size);
    return gm_test_part_(job, "gm_data", what, bytes, size);
}

static inline int gm_test_warning_(const gm_job *job, const void *bytes, size_t size) {
    return gm_test_part_(job, "gm_warning", "warning ", bytes, size);
}

static inline int gm_test_stopping_(const gm_job *job) {
    gm_test *test = gm_test_of_(job, "gm_stopping");
    return test ? test->stopping : 1;
}

static inline int gm_test_log_wanted_(int level) {
    (void)level;
    return 1;
}

static inline void gm_test_log_(const gm_job *job, int level, const char *text, size_t size) {
    static const char *const levels[] = {"ERROR   ", "WARN    ", "INFO    ", "DEBUG   ", "TRACE   "};
    gm_test *test = job ? (gm_test *)(void *)job : gm_test_newest_;
    const int index = level < GM_ERROR ? 0 : level > GM_TRACE ? 4 : level - 1;
    if (test) gm_test_line_(test, levels[index], text, size);
}

static inline int gm_test_give_(const gm_job *job, const char *call, const void *bytes, size_t size) {
    char reason[GM_TEXT];
    gm_test *test = gm_test_of_run_(job, call);
    if (!test) return 1;
    if (!gm_test_usable_(call, bytes, size, reason)) return gm_test_misuse_(test, reason);
    if (test->has_failed) return 1;
    if (test->has_result) gm_test_misuse_(test, "it gave its job two results");
    gm_test_set_text_(&test->result, bytes, size);
    test->has_result = 1;
    return 0;
}

static inline int gm_test_result_(gm_job *job, const void *bytes, size_t size) {
    return gm_test_give_(job, "gm_result", bytes, size);
}

static inline int gm_test_result_owned_(gm_job *job, void *bytes, size_t size, void (*release)(void *bytes)) {
    const int code = gm_test_give_(job, "gm_result_owned", bytes, size);
    if (bytes && release) release(bytes);
    return code;
}

static inline int gm_test_fail_with_(gm_job *job, const char *call, const void *bytes, size_t size, int exception) {
    char reason[GM_TEXT];
    gm_test *test = gm_test_of_run_(job, call);
    if (!test) return 1;
    if (!gm_test_usable_(call, bytes, size, reason)) return gm_test_misuse_(test, reason);
    if (!test->has_failed) {
        gm_test_set_text_(&test->failure, bytes, size);
        test->has_exception = exception;
    }
    test->has_failed = 1;
    return 1;
}

static inline int gm_test_fail_(gm_job *job, const char *message, size_t size) {
    return gm_test_fail_with_(job, "gm_fail", message, size, 0);
}

static inline int gm_test_exception_of_(gm_job *job, const void *bytes, size_t size) {
    return gm_test_fail_with_(job, "gm_exception", bytes, size, 1);
}

static inline gm_test *gm_test_of_context_(const gm_context *context) {
    return (gm_test *)(void *)((char *)(void *)context - offsetof(gm_test, context));
}

static inline const char *gm_test_get_at_(const gm_context *context, size_t index, const char **name) {
    gm_test *test = gm_test_of_context_(context);
    if (index >= test->settings_count) return NULL;
    test->settings[index].read = 1;
    if (name) *name = test->settings[index].name;
    return test->settings[index].value;
}

static inline const char *gm_test_get_(const gm_context *context, const char *name) {
    gm_test *test = gm_test_of_context_(context);
    size_t index;
    for (index = 0; name && index < test->settings_count; index++) {
        if (strcmp(test->settings[index].name, name) == 0) return gm_test_get_at_(context, index, NULL);
    }
    return NULL;
}

static inline int gm_test_create_failed_(gm_context *context, const char *message, size_t size) {
    gm_test *test = gm_test_of_context_(context);
    if (!test->has_failed) gm_test_set_text_(&test->failure, message, size);
    test->has_failed = 1;
    return 1;
}

/* What run or create returned: the job or the start fails unless it is 0. Returns whether it succeeded. */
static inline int gm_test_end_(gm_test *test, int code) {
    char reason[64];
    if (code && !test->has_failed) {
        snprintf(reason, sizeof reason, "it returned %d", code);
        gm_test_set_text_(&test->failure, reason, strlen(reason));
        test->has_failed = 1;
    }
    if (test->has_failed) gm_test_set_text_(&test->result, "", 0);
    return !test->has_failed;
}

static inline void gm_test_begin_(gm_test *test) {
    test->has_result = test->has_failed = test->has_exception = test->has_misuse = 0;
    gm_test_set_text_(&test->result, "", 0);
    gm_test_set_text_(&test->failure, "", 0);
    gm_test_set_text_(&test->sent, "", 0);
}

/* ---- For tests -------------------------------------------------------------------------------------------------- */

/* A test of a function. Free it with gm_test_free. */
static inline gm_test *gm_test_new(const gm_plugin *plugin) {
    gm_test *test = (gm_test *)memset(gm_test_memory_(NULL, sizeof *test), 0, sizeof *test);
    gm_host *host = &test->host;
    host->size = sizeof *host;
    host->status = gm_test_status_;
    host->data = gm_test_data_;
    host->warning = gm_test_warning_;
    host->stopping = gm_test_stopping_;
    host->log_wanted = gm_test_log_wanted_;
    host->log = gm_test_log_;
    host->result = gm_test_result_;
    host->result_owned = gm_test_result_owned_;
    host->fail = gm_test_fail_;
    host->exception = gm_test_exception_of_;
    host->setting = gm_test_get_;
    host->setting_at = gm_test_get_at_;
    host->create_failed = gm_test_create_failed_;
    test->context.size = sizeof test->context;
    test->context.host = host;
    test->context.function = plugin->name;
    test->job.size = sizeof test->job;
    test->job.host = host;
    test->job.handle = "H:test:1";
    test->job.handle_size = strlen(test->job.handle);
    test->job.unique = "";
    test->job.function = plugin->name;
    test->plugin = plugin;
    gm_test_begin_(test);
    gm_test_newest_ = test;
    return test;
}

/* Sets `setting.NAME = VALUE`, before the state is made. */
static inline void gm_test_set(gm_test *test, const char *name, const char *value) {
    const size_t size = (test->settings_count + 1) * sizeof *test->settings;
    struct gm_test_setting_ *setting;
    test->settings = (struct gm_test_setting_ *)gm_test_memory_(test->settings, size);
    setting = &test->settings[test->settings_count++];
    setting->name = gm_test_copy_(name);
    setting->value = gm_test_copy_(value);
    setting->read = 0;
}

/*
 * Makes the state, as at the start of a worker. Returns 1, or 0 if that failed; see gm_test_failure. A setting that was
 * not read is a line of gm_test_sent. The first job does it, too.
 */
static inline int gm_test_create(gm_test *test) {
    size_t index;
    int code = 0;
    if (test->created) return 1;
    gm_test_begin_(test);
    if (test->plugin->create) code = test->plugin->create(&test->context, &test->state);
    if (!gm_test_end_(test, code)) return 0;
    test->created = 1;
    for (index = 0; index < test->settings_count; index++) {
        char text[GM_TEXT];
        if (test->settings[index].read) continue;
        snprintf(text, sizeof text, "setting.%s is never read", test->settings[index].name);
        gm_test_line_(test, "WARN    ", text, strlen(text));
    }
    return 1;
}

/* Runs a job with this workload. Returns 1 if it succeeded, or 0; see gm_test_failure. */
static inline int gm_test_run(gm_test *test, const void *workload, size_t size) {
    char *copy;
    int code;
    if (!gm_test_create(test)) return 0;
    gm_test_begin_(test);
    copy = (char *)gm_test_memory_(NULL, size);
    if (size) memcpy(copy, workload, size);
    test->job.workload = copy;
    test->job.workload_size = size;
    test->job.number = ++test->jobs;
    gm_test_running_ = test;
    code = test->plugin->run(test->state, &test->job);
    gm_test_running_ = NULL;
    test->job.number = 0;
    free(copy);
    return gm_test_end_(test, code);
}

/* The same with a text. */
static inline int gm_test_run_text(gm_test *test, const char *workload) {
    return gm_test_run(test, workload, strlen(workload));
}

/* The last job's result. A NUL follows it. */
static inline const char *gm_test_result(const gm_test *test) { return test->result.bytes; }

/* Its size in bytes. */
static inline size_t gm_test_result_size(const gm_test *test) { return test->result.size; }

/* Why the last job or the start failed; NULL if it succeeded or ended with an exception. */
static inline const char *gm_test_failure(const gm_test *test) {
    return test->has_failed && !test->has_exception ? test->failure.bytes : NULL;
}

/* The exception that the last job ended with; NULL if there was none. */
static inline const char *gm_test_exception(const gm_test *test) {
    return test->has_failed && test->has_exception ? test->failure.bytes : NULL;
}

/*
 * What the last job sent and logged, as `gm-native call` prints it, in lines such as "status  1 of 2", "data    4 bytes:
 * part", "warning careful" and "INFO    words". All levels are logged. A call for a job that is over, or on another thread
 * than run's where that is wrong, is a line such as "refused gm_status".
 */
static inline const char *gm_test_sent(const gm_test *test) { return test->sent.bytes; }

/* What gm_stopping returns from now on. */
static inline void gm_test_stop(gm_test *test, int stopping) { test->stopping = stopping; }

/* Destroys the state, as at the end of a worker, and frees the test. */
static inline void gm_test_free(gm_test *test) {
    size_t index;
    if (test->created && test->plugin->destroy) test->plugin->destroy(test->state);
    if (gm_test_newest_ == test) gm_test_newest_ = NULL;
    for (index = 0; index < test->settings_count; index++) {
        free(test->settings[index].name);
        free(test->settings[index].value);
    }
    free(test->settings);
    free(test->result.bytes);
    free(test->failure.bytes);
    free(test->sent.bytes);
    free(test);
}

#ifdef __cplusplus
}
#endif

#endif
