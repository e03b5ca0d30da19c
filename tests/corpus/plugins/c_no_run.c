// Nothing to call.
// expect: exports c_no_run as an entry that has no run function: write it with GM_FUNCTION or GM_OBJECT
#include "../../../plugin-api/include/gm_plugin.h"
GM_EXPORT extern const gm_plugin c_no_run;
const gm_plugin c_no_run = {GM_MAGIC, sizeof(gm_plugin), 1, 0, "c_no_run", "1", "cc", NULL, NULL, NULL};
