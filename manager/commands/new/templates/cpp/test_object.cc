// The function in a process of the test's own, without gm-native: see gm_testing.h.
#undef NDEBUG
#include "gm_testing.h"

#include <cassert>
#include <string_view>

GM_TESTED(my_function);

static void words_are_counted_from_job_to_job() {
    gm_test *test = gm_test_new(&my_function);
    gm_test_set(test, "shortest", "2");
    assert(gm_test_run_text(test, "a job for you"));
    assert(gm_test_result(test) == std::string_view("3"));
    assert(gm_test_run_text(test, "another one"));
    assert(gm_test_sent(test) == std::string_view("INFO    2 words, 5 so far\n"));
    gm_test_free(test);
}

static void a_wrong_setting_is_named() {
    gm_test *test = gm_test_new(&my_function);
    gm_test_set(test, "shortest", "none");
    assert(!gm_test_create(test));
    assert(gm_test_failure(test) == std::string_view("setting.shortest = none is no whole number, or too large"));
    gm_test_free(test);
}

int main() {
    words_are_counted_from_job_to_job();
    a_wrong_setting_is_named();
}
