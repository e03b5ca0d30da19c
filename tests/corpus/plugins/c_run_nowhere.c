// A function pointer into nowhere.
// expect: exports c_run_nowhere as an entry that has a run that points to no code of this process: write it with GM_FUNCTION or GM_OBJECT
#include "../../../plugin-api/include/gm_plugin.h"
GM_EXPORT extern const gm_plugin c_run_nowhere;
const gm_plugin c_run_nowhere = {GM_MAGIC, sizeof(gm_plugin), 1, 0, "c_run_nowhere", "1", "cc", NULL, (int (*)(void *, gm_job *))16, NULL};
