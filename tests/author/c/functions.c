/* Functions in C of every kind, for ../c_plugins.rs. */
#define GM_PLUGIN_VERSION "3.2.1"
#include "gm_plugin.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

GM_FUNCTION(c_talk) {
    int sent[3];
    sent[0] = gm_status(job, 1, 2);
    sent[1] = gm_data(job, "part", 4);
    sent[2] = gm_warning(job, "careful", 7);
    gm_log(job, GM_ERROR, "an error %d", 7);
    gm_log(job, GM_TRACE, "not wanted");
    return gm_resultf(job, "%d%d%d %s %.*s", sent[0], sent[1], sent[2], gm_function(job), (int)gm_handle_size(job),
                      gm_handle(job));
}

GM_FUNCTION(c_echo) { return gm_result(job, gm_workload(job), gm_workload_size(job)); }

/* The workload doubled, in memory that is handed over. */
GM_FUNCTION(c_twice) {
    size_t size = gm_workload_size(job);
    char *twice = malloc(2 * size + 1);
    if (!twice) return gm_fail(job, "out of memory");
    memcpy(twice, gm_workload(job), size);
    memcpy(twice + size, gm_workload(job), size);
    return gm_result_owned(job, twice, 2 * size, free);
}

static gm_job *earlier;

static void *use_it(void *job) {
    gm_result_text(job, "from a thread");
    gm_status(job, 1, 1);
    return NULL;
}

/* Does what the workload says, which is mostly wrong. */
GM_FUNCTION(c_wrong) {
    char what = gm_workload_size(job) > 0 ? *gm_workload(job) : 0;
    pthread_t thread;
    switch (what) {
    case '2': gm_result_text(job, "one"); return gm_result_text(job, "two");
    case 'n': return gm_result(job, NULL, 3);
    case 'm': return gm_result(job, "x", (size_t)-1);
    case 'f': gm_result_text(job, "nothing"); return gm_failf(job, "row %d is missing", 7);
    case 'F': gm_fail(job, "first"); gm_fail(job, "second"); return 0;
    case 'e': return gm_exception(job, "{\"code\":7}", 10);
    case '7': return 7;
    case '0': return 0;
    case 'N': gm_result_text(NULL, "x"); gm_status(NULL, 1, 1); gm_log(NULL, GM_ERROR, "x"); return gm_result_text(job, "survived");
    case 'w': return job->host->result((gm_job *)&what, "x", 1) ? gm_result_text(job, "refused") : 0;
    case 't':
        pthread_create(&thread, NULL, use_it, job);
        pthread_join(thread, NULL);
        return gm_result_text(job, "from run");
    case 'k': earlier = job; return 0;
    case 'l': return gm_resultf(job, "%d %d", gm_status(earlier, 1, 1), gm_result_text(earlier, "late"));
    default: return gm_fail(job, "no such case");
    }
}

struct state {
    unsigned long jobs;
    const char *greeting;
};

static int create(gm_context *context, void **state) {
    struct state *made;
    const char *name = NULL;
    const char *greeting = gm_setting(context, "greeting");
    if (!greeting) return gm_create_failedf(context, "setting.%s is missing", "greeting");
    if (gm_setting(context, "return")) return 3;
    if (gm_setting(context, "all")) gm_setting_at(context, 0, &name);
    made = calloc(1, sizeof *made);
    if (!made) return gm_create_failed(context, "out of memory");
    made->greeting = greeting;
    *state = made;
    return 0;
}

static int run(void *state, gm_job *job) {
    struct state *mine = state;
    return gm_resultf(job, "%s %lu", mine->greeting, ++mine->jobs);
}

static void destroy(void *state) {
    (void)!write(2, "destroyed\n", 10);
    free(state);
}

GM_OBJECT(c_object, create, run, destroy);
