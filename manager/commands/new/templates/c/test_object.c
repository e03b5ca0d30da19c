/* The function in a process of the test's own, without gm-native: see gm_testing.h. */
#undef NDEBUG
#include "gm_testing.h"

#include <assert.h>

GM_TESTED(my_function);

static void words_are_counted_from_job_to_job(void) {
    gm_test *test = gm_test_new(&my_function);
    gm_test_set(test, "shortest", "2");
    assert(gm_test_run_text(test, "a job for you"));
    assert(strcmp(gm_test_result(test), "3") == 0);
    assert(gm_test_run_text(test, "another one"));
    assert(strcmp(gm_test_sent(test), "INFO    2 words, 5 so far\n") == 0);
    gm_test_free(test);
}

static void a_wrong_setting_is_named(void) {
    gm_test *test = gm_test_new(&my_function);
    gm_test_set(test, "shortest", "none");
    assert(!gm_test_create(test));
    assert(strcmp(gm_test_failure(test), "setting.shortest = none is no number") == 0);
    gm_test_free(test);
}

int main(void) {
    words_are_counted_from_job_to_job();
    a_wrong_setting_is_named();
    return 0;
}
