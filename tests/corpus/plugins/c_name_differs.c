// Another function's name.
// expect: exports c_name_differs as an entry that is for a function named another: the library's file and its function must have the same name
#include "../../../plugin-api/include/gm_plugin.h"
static int run(void *state, gm_job *job) {
    (void)state;
    return gm_result(job, NULL, 0);
}
GM_EXPORT extern const gm_plugin c_name_differs;
const gm_plugin c_name_differs = {GM_MAGIC, sizeof(gm_plugin), 1, 0, "another", "1", "cc", NULL, run, NULL};
