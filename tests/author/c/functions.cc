// Functions in C++ of every kind, for ../cpp_plugins.rs.
#define GM_PLUGIN_VERSION "4.5.6"
#include "gm_plugin.hpp"

#include <cctype>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace {

struct Mine {
    int code;
};

struct Silent : std::exception {
    const char *what() const noexcept override { return nullptr; }
};

template <class Type>
struct Outer {
    class Inner : public std::domain_error {
    public:
        Inner() : std::domain_error("inside a template") {}
    };
};

[[noreturn]] void nest(int depth) {
    try {
        if (depth == 0) throw std::out_of_range("the innermost");
        nest(depth - 1);
    } catch (...) {
        std::throw_with_nested(gm::Failure("level " + std::to_string(depth)));
    }
}

// Notices whether it is copied.
template <class T>
struct OnlyOnce : std::allocator<T> {
    template <class U>
    struct rebind {
        using other = OnlyOnce<U>;
    };
    OnlyOnce select_on_container_copy_construction() const { throw std::logic_error("the result was copied"); }
};

} // namespace

GM_FUNCTION(cpp_talk) {
    const bool sent[] = {job.status(1, 2), job.data("part"), job.warning("careful")};
    job.log(gm::Level::error, "an error");
    job.log(gm::Level::trace, "not wanted");
    std::string text(job.function());
    text.append(" ").append(job.handle()).append(sent[0] && sent[1] && sent[2] ? " sent" : " refused");
    return text + (job.stopping() || job.log_wanted(gm::Level::trace) ? " wrong" : "");
}

// Returns what the workload says, in every way there is.
GM_FUNCTION(cpp_return) {
    const std::string_view way = job.workload();
    if (way == "nothing") return {};
    if (way == "literal") return "a literal";
    if (way == "view") {
        const std::string gone = "a text that is gone";
        return std::string_view(gone);
    }
    if (way == "empty") return std::string();
    if (way == "empty vector") return std::vector<char>();
    if (way == "short") return std::string("short");
    if (way == "owned") return gm::Result::owned(strdup("of malloc"), 9, std::free);
    if (way == "bytes") return std::vector<std::byte>{std::byte{'o'}, std::byte{'k'}};
    if (way == "large vector") {
        std::vector<unsigned char, OnlyOnce<unsigned char>> large(300'000, 'v');
        return large;
    }
    std::string large(way.size() * 2, 's');
    const char *before = large.data();
    gm::Result result(std::move(large));
    // Moved, and a text of its size does not move its bytes.
    return before ? std::move(result) : gm::Result();
}

GM_FUNCTION(cpp_throw) {
    const std::string_view what = job.workload();
    if (what == "runtime") throw std::runtime_error("row 7 is missing");
    if (what == "failure") throw gm::Failure("row 8 is missing");
    if (what == "exception") throw gm::Exception("{\"code\":7}");
    if (what == "memory") throw std::bad_alloc();
    if (what == "system") throw std::system_error(std::make_error_code(std::errc::no_space_on_device), "the disk");
    if (what == "template") throw Outer<int>::Inner();
    if (what == "silent") throw Silent();
    if (what == "int") throw 7;
    if (what == "text") throw "a text";
    if (what == "null") throw static_cast<const char *>(nullptr);
    if (what == "string") throw std::string("a std::string's");
    if (what == "mine") throw Mine{7};
    if (what == "nested") nest(2);
    if (what == "deep") nest(20);
    if (what == "long") throw std::runtime_error(std::string(5000, 'l') + "end");
    if (what == "at") std::vector<int>().at(7);
    if (what == "half") {
        gm_result_text(job.c_job(), "half a result");
        throw std::runtime_error("after its result");
    }
    if (what == "thread") {
        std::thread([] { throw std::runtime_error("in a thread"); }).join();
    }
    return "nothing was thrown";
}

namespace {

class Counter {
public:
    explicit Counter(gm::Context &context)
        : greeting(context.required("greeting")), step(context.integer("step", 1)), function(context.function()) {
        if (auto wrong = context.setting("throw")) {
            if (*wrong == "int") throw 7;
            throw std::invalid_argument("the constructor does not like it");
        }
        if (context.setting("all") && context.settings().size() != 2) throw gm::Failure("not all settings");
    }
    ~Counter() { (void)!write(2, "destroyed\n", 10); }

    std::string run(gm::Job &job) {
        jobs += step;
        if (job.workload() == "throw") throw std::runtime_error("job " + std::to_string(jobs));
        return greeting + " " + std::to_string(jobs);
    }

private:
    const std::string greeting;
    const long long step;
    const std::string function;
    long long jobs = 0;
};

template <int Size, class Char>
struct Plain {
    void run(gm::Job &job) { job.data(std::string(Size, Char())); }
};

struct ThrowsLate {
    std::string_view run(gm::Job &) { return "served"; }
    ~ThrowsLate() noexcept(false) { throw std::runtime_error("in a destructor"); }
};

} // namespace

GM_CLASS(cpp_counter, Counter);
GM_CLASS(cpp_plain, Plain<3, char>);
GM_CLASS(cpp_throws_late, ThrowsLate);
