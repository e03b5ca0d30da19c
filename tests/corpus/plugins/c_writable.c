// An entry that its library can change.
// expect: exports c_writable as an entry that is in writable memory: declare it const, as GM_FUNCTION and GM_OBJECT do, and link without -z norelro
#include "../../../plugin-api/include/gm_plugin.h"
static int run(void *state, gm_job *job) {
    (void)state;
    return gm_result(job, NULL, 0);
}
GM_EXPORT extern gm_plugin c_writable;
gm_plugin c_writable = {GM_MAGIC, sizeof(gm_plugin), 1, 0, "c_writable", "1", "cc", NULL, run, NULL};
extern gm_plugin inner __attribute__((alias("c_writable"), visibility("hidden")));
__attribute__((constructor)) static void change(void) { inner.size = 0; }
