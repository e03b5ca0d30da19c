// A function pointer to data.
// expect: exports c_run_is_data as an entry that has a run that points to no code of this process: write it with GM_FUNCTION or GM_OBJECT
#include "../../../plugin-api/include/gm_plugin.h"
static int data = 7;
GM_EXPORT extern const gm_plugin c_run_is_data;
const gm_plugin c_run_is_data = {GM_MAGIC, sizeof(gm_plugin), 1, 0, "c_run_is_data", "1", "cc", NULL, (int (*)(void *, gm_job *))(void *)&data, NULL};
