// A class and a function in C++ under test: what is thrown, and that results are handed over without a copy.
#include "gm_plugin.hpp"
#include "gm_testing.h"

namespace {

const void *made;
const void *handed_over;

void note(const std::string &text) { made = text.data(); }

int result_owned(gm_job *job, void *bytes, std::size_t size, void (*release)(void *)) {
    handed_over = bytes;
    return gm_test_result_owned_(job, bytes, size, release);
}

struct Repeat {
    explicit Repeat(gm::Context &context) : times(context.integer("times", 2)) {}
    std::string run(gm::Job &job) {
        if (job.workload().empty()) throw std::invalid_argument("there is nothing to repeat");
        std::string text;
        for (long long i = 0; i < times; i++) text += job.workload();
        note(text);
        return text;
    }
    long long times;
};

} // namespace

GM_CLASS(repeat, Repeat);

GM_FUNCTION(a_vector) {
    std::vector<unsigned char> bytes(std::size_t{100'000}, 'b');
    made = bytes.data();
    return bytes;
}

GM_FUNCTION(a_string) {
    std::string text(1000, 'v');
    note(text);
    return text;
}

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (condition) break;                                                                                          \
        fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                                        \
        return 1;                                                                                                      \
    } while (0)

int main() {
    gm_test *test = gm_test_new(&repeat);
    test->host.result_owned = result_owned;
    gm_test_set(test, "times", "1000");
    CHECK(gm_test_run_text(test, "ab") && gm_test_result_size(test) == 2000);
    CHECK(handed_over == made);
    CHECK(!gm_test_run_text(test, ""));
    CHECK(gm_test_failure(test) == std::string("std::invalid_argument: there is nothing to repeat"));
    gm_test_free(test);
    for (const gm_plugin *plugin : {&a_vector, &a_string}) {
        test = gm_test_new(plugin);
        test->host.result_owned = result_owned;
        handed_over = nullptr;
        CHECK(gm_test_run_text(test, "") && handed_over == made);
        gm_test_free(test);
    }
    return 0;
}
