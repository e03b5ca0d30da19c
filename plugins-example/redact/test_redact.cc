#undef NDEBUG
#include <cassert>
#include <gm_testing.h>
#include <string_view>

GM_TESTED(redact);

int main() {
    gm_test *test = gm_test_new(&redact);
    gm_test_set(test, "pattern", "\\d{4}-(\\d{4})");
    gm_test_set(test, "replacement", "****-\\1");
    assert(gm_test_run_text(test, "1234-5678 and 1111-2222"));
    assert(gm_test_result(test) == std::string_view("****-5678 and ****-2222"));
    assert(gm_test_run_text(test, "nothing, 0000-0000"));
    assert(gm_test_sent(test) == std::string_view("INFO    1 replaced, 3 so far\n"));
    gm_test_free(test);

    test = gm_test_new(&redact);
    gm_test_set(test, "pattern", "(");
    assert(!gm_test_create(test));
    assert(gm_test_failure(test) == std::string_view("setting.pattern: missing ): ("));
    gm_test_free(test);
}
