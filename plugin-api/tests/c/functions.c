/* Functions for testing.c: one that does what its workload says, and one with state. */
#include "gm_plugin.h"

#include <pthread.h>
#include <stdlib.h>

static gm_job *earlier;

static void *use_it(void *job) {
    gm_result_text((gm_job *)job, "from a thread");
    gm_status((gm_job *)job, 1, 1);
    return NULL;
}

GM_FUNCTION(act) {
    const char what = gm_workload_size(job) > 0 ? *gm_workload(job) : '0';
    char *owned;
    pthread_t thread;
    switch (what) {
    case '0': return 0;
    case '7': return 7;
    case 's':
        gm_status(job, 1, 2);
        gm_data(job, "part", 4);
        gm_warning(job, "careful", 7);
        gm_log(job, GM_INFO, "%d words", 3);
        gm_host_log(job->host, GM_DEBUG, "outside");
        return gm_resultf(job, "%.*s %s", (int)gm_handle_size(job), gm_handle(job), gm_function(job));
    case 'o':
        owned = (char *)malloc(3);
        memcpy(owned, "own", 3);
        return gm_result_owned(job, owned, 3, free);
    case 'f': return gm_failf(job, "row %d is missing", 7);
    case 'F': gm_fail(job, "first"); gm_fail(job, "second"); return 0;
    case 'e': return gm_exception(job, "{}", 2);
    case '2': gm_result_text(job, "one"); return gm_result_text(job, "two");
    case 'n': return gm_result(job, NULL, 3);
    case 'm': return gm_data(job, "x", (size_t)-1) ? 0 : gm_result(job, "x", (size_t)-1);
    case 'N': gm_result_text(NULL, "x"); gm_log(NULL, GM_ERROR, "x"); return gm_result_text(job, "survived");
    case 't':
        pthread_create(&thread, NULL, use_it, job);
        pthread_join(thread, NULL);
        return gm_result_text(job, "from run");
    case 'k': earlier = job; return 0;
    case 'q': while (!gm_stopping(job)) gm_status(job, 0, 0); return gm_result_text(job, "early");
    case 'b': return gm_result(job, gm_workload(job) + gm_workload_size(job), 1);
    default: return gm_fail(job, "no such case");
    }
}

#ifdef __cplusplus
extern "C"
#endif
void act_late(void);

void act_late(void) { gm_status(earlier, 1, 1); gm_result_text(earlier, "late"); }

struct state {
    const char *greeting;
    int jobs;
};

static int create(gm_context *context, void **state) {
    struct state *made;
    const char *name = NULL;
    const char *greeting = gm_setting(context, "greeting");
    if (gm_setting(context, "all") && (!gm_setting_at(context, 2, &name) || gm_setting_at(context, 3, &name))) return 3;
    if (gm_setting(context, "code")) return 5;
    if (!greeting) return gm_create_failedf(context, "setting.%s is missing", "greeting");
    made = (struct state *)calloc(1, sizeof *made);
    made->greeting = greeting;
    *state = made;
    return 0;
}

static int run(void *state, gm_job *job) {
    struct state *mine = (struct state *)state;
    return gm_resultf(job, "%s %d", mine->greeting, ++mine->jobs);
}

GM_OBJECT(object, create, run, free);
