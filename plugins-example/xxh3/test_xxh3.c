#undef NDEBUG
#include <assert.h>
#include <gm_testing.h>

GM_TESTED(xxh3);

int main(void) {
    const size_t size = (size_t)9 << 20;
    char *large = calloc(1, size);
    gm_test *test = gm_test_new(&xxh3);
    assert(large);

    assert(gm_test_run_text(test, ""));
    assert(strcmp(gm_test_result(test), "99aa06d3014798d86001c324468d497f") == 0);

    assert(gm_test_run(test, large, size));
    assert(gm_test_result_size(test) == 32);
    assert(strcmp(gm_test_sent(test), "status  4194304 of 9437184\nstatus  8388608 of 9437184\nstatus  9437184 of 9437184\n") == 0);

    gm_test_stop(test, 1);
    assert(!gm_test_run(test, large, size));
    assert(strcmp(gm_test_failure(test), "stopped after 0 of 9437184 bytes") == 0);

    gm_test_free(test);
    free(large);
    return 0;
}
