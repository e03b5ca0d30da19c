/* The function in a process of the test's own, without gm-native: see gm_testing.h. */
#undef NDEBUG
#include "gm_testing.h"

#include <assert.h>

GM_TESTED(my_function);

int main(void) {
    gm_test *test = gm_test_new(&my_function);

    assert(gm_test_run_text(test, "a job for you"));
    assert(strcmp(gm_test_result(test), "4") == 0);
    assert(strcmp(gm_test_sent(test), "INFO    4 words\n") == 0);

    assert(gm_test_run_text(test, ""));
    assert(strcmp(gm_test_result(test), "0") == 0);

    gm_test_free(test);
    return 0;
}
