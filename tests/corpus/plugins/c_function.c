// A function in C, as gm_plugin.h makes it.
// expect: is served
#include "../../../plugin-api/include/gm_plugin.h"
GM_FUNCTION(c_function) { return gm_result_text(job, "done"); }
