/* The Gearman function my_function, with state that is kept from job to job. */
#include "gm_plugin.h"

#include <stdlib.h>

struct state {
    size_t shortest;
    size_t total;
};

/*
 * Runs once in each worker. Settings come from the configuration: `setting.shortest = 3` in the section [my_function]. Read
 * all of them here: one that is never read, such as a misspelt `setting.shortst`, is named in the log.
 */
static int create(gm_context *context, void **state) {
    const char *shortest = gm_setting(context, "shortest");
    char *end = NULL;
    struct state *made;
    unsigned long number = shortest ? strtoul(shortest, &end, 10) : 1;
    if (shortest && (end == shortest || *end)) {
        return gm_create_failedf(context, "setting.shortest = %s is no number", shortest);
    }
    made = calloc(1, sizeof *made);
    if (!made) return gm_create_failed(context, "out of memory");
    made->shortest = number;
    *state = made;
    return 0;
}

/* Counts the words of the workload that are long enough. */
static int run(void *of, gm_job *job) {
    struct state *state = of;
    const char *text = gm_workload(job);
    size_t words = 0;
    size_t length = 0;
    for (size_t i = 0; i <= gm_workload_size(job); i++) {
        if (i < gm_workload_size(job) && (unsigned char)text[i] > ' ') {
            length++;
        } else {
            words += length > 0 && length >= state->shortest;
            length = 0;
        }
    }
    state->total += words;
    gm_log(job, GM_INFO, "%zu words, %zu so far", words, state->total);
    return gm_resultf(job, "%zu", words);
}

GM_OBJECT(my_function, create, run, free);
