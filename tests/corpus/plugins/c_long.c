// An entry that is longer than an entry.
// expect: exports c_long as an entry of 96 bytes, which has 88 here; build it with the gm-plugin-api of this release
#include "../../../plugin-api/include/gm_plugin.h"
struct more {
    gm_plugin plugin;
    long more;
};
GM_EXPORT extern const struct more c_long;
const struct more c_long = {{GM_MAGIC, 96, 1, 0, "c_long", "1", "cc", NULL, NULL, NULL}, 0};
