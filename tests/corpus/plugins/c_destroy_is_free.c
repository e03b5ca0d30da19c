// A destroy that is one of the C library's functions.
// expect: is served
#include "../../../plugin-api/include/gm_plugin.h"
#include <stdlib.h>
static int create(gm_context *context, void **state) {
    (void)context;
    *state = malloc(8);
    return *state == NULL;
}
static int run(void *state, gm_job *job) {
    (void)state;
    return gm_result(job, NULL, 0);
}
GM_EXPORT extern const gm_plugin c_destroy_is_free;
const gm_plugin c_destroy_is_free = {GM_MAGIC, sizeof(gm_plugin), 1, 0, "c_destroy_is_free", "1", "cc", create, run, free};
