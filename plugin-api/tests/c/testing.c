/* Everything that gm_testing.h has, used on functions.c. Ends with the number of the line that is wrong. */
#include "gm_testing.h"

GM_TESTED(act);
GM_TESTED(object);

#ifdef __cplusplus
extern "C"
#endif
void act_late(void);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (condition) break;                                                                                          \
        fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                                        \
        return 1;                                                                                                      \
    } while (0)

static int same(const char *text, const char *expected) {
    if (text && expected && strcmp(text, expected) == 0) return 1;
    fprintf(stderr, "%s instead of %s\n", text ? text : "NULL", expected);
    return 0;
}

static int jobs(void) {
    gm_test *test = gm_test_new(&act);
    CHECK(gm_test_run_text(test, "0") && same(gm_test_result(test), "") && gm_test_result_size(test) == 0);
    CHECK(!gm_test_failure(test) && !gm_test_exception(test));
    CHECK(gm_test_run_text(test, "s") && same(gm_test_result(test), "H:test:1 act"));
    CHECK(same(gm_test_sent(test), "status  1 of 2\ndata    4 bytes: part\nwarning careful\nINFO    3 words\nDEBUG   outside\n"));
    CHECK(gm_test_run_text(test, "o") && same(gm_test_result(test), "own") && same(gm_test_sent(test), ""));
    CHECK(!gm_test_run_text(test, "7") && same(gm_test_failure(test), "it returned 7"));
    CHECK(!gm_test_run_text(test, "f") && same(gm_test_failure(test), "row 7 is missing"));
    CHECK(same(gm_test_result(test), ""));
    CHECK(!gm_test_run_text(test, "F") && same(gm_test_failure(test), "first"));
    CHECK(!gm_test_run_text(test, "e") && same(gm_test_exception(test), "{}") && !gm_test_failure(test));
    CHECK(!gm_test_run_text(test, "2") && same(gm_test_failure(test), "it gave its job two results"));
    CHECK(!gm_test_run_text(test, "n") && same(gm_test_failure(test), "gm_result was given NULL and a size of 3 bytes"));
    CHECK(!gm_test_run_text(test, "m"));
    CHECK(same(gm_test_failure(test),
               "gm_result was given a size of 18446744073709551615 bytes, which is negative or too large"));
    CHECK(strstr(gm_test_sent(test), "ERROR   gm_data was given a size of"));
    CHECK(gm_test_run_text(test, "N") && same(gm_test_result(test), "survived"));
    CHECK(gm_test_run_text(test, "t") && same(gm_test_result(test), "from run"));
    CHECK(same(gm_test_sent(test), "refused gm_result\nstatus  1 of 1\n"));
    CHECK(gm_test_run_text(test, "k"));
    act_late();
    CHECK(same(gm_test_sent(test), "refused gm_status\nrefused gm_result\n"));
    gm_test_stop(test, 1);
    CHECK(gm_test_run_text(test, "q") && same(gm_test_result(test), "early"));
    CHECK(gm_test_run(test, NULL, 0));
    gm_test_free(test);
    return 0;
}

static int state(void) {
    gm_test *test = gm_test_new(&object);
    CHECK(!gm_test_run_text(test, "") && same(gm_test_failure(test), "setting.greeting is missing"));
    gm_test_set(test, "greeting", "hello");
    gm_test_set(test, "unread", "x");
    CHECK(gm_test_create(test) && same(gm_test_sent(test), "WARN    setting.unread is never read\n"));
    CHECK(gm_test_run_text(test, "") && same(gm_test_result(test), "hello 1"));
    CHECK(gm_test_run_text(test, "") && same(gm_test_result(test), "hello 2"));
    gm_test_free(test);
    test = gm_test_new(&object);
    gm_test_set(test, "code", "1");
    CHECK(!gm_test_create(test) && same(gm_test_failure(test), "it returned 5"));
    gm_test_free(test);
    test = gm_test_new(&object);
    gm_test_set(test, "all", "1");
    gm_test_set(test, "greeting", "hi");
    gm_test_set(test, "other", "1");
    CHECK(gm_test_create(test));
    gm_test_free(test);
    return 0;
}

int main(int count, char **arguments) {
    gm_test *test;
    if (count == 1) return jobs() || state();
    /* Reads behind the workload: only a sanitizer sees it. */
    test = gm_test_new(&act);
    (void)gm_test_run_text(test, arguments[1]);
    gm_test_free(test);
    return 0;
}
