// The function in a process of the test's own, without gm-native: see gm_testing.h.
#undef NDEBUG
#include "gm_testing.h"

#include <cassert>
#include <string_view>

GM_TESTED(my_function);

int main() {
    gm_test *test = gm_test_new(&my_function);

    assert(gm_test_run_text(test, "a job for you"));
    assert(gm_test_result(test) == std::string_view("4"));
    assert(gm_test_sent(test) == std::string_view("INFO    4 words\n"));

    assert(gm_test_run_text(test, ""));
    assert(gm_test_result(test) == std::string_view("0"));

    gm_test_free(test);
}
