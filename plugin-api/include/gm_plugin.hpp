/*
 * gm_plugin.hpp: functions for gm-native in C++17 and later.
 *
 * A shared library `shout.so` in a manager's worker_dir serves the Gearman function `shout`:
 *
 *     #include <gm_plugin.hpp>
 *
 *     GM_FUNCTION(shout) {
 *         std::string text(job.workload());
 *         for (char &letter : text) letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
 *         return text;
 *     }
 *
 *     c++ -std=c++17 -O2 -g -fPIC -shared -o shout.so shout.cc
 *
 * A function that keeps state between its jobs is a class:
 *
 *     struct Counter {
 *         explicit Counter(gm::Context &context) : greeting(context.required("greeting")) {}
 *         std::string run(gm::Job &job) { return greeting + " " + std::to_string(++jobs); }
 *         std::string greeting;
 *         int jobs = 0;
 *     };
 *     GM_CLASS(counter, Counter);
 *
 * What holds for all of it:
 *
 * - An exception that leaves a function or `run` fails the job; one that leaves a constructor fails the start of the
 *   worker. The message has its type and its what(). The object serves the next job.
 * - An exception that leaves a destructor calls std::terminate, as it does everywhere in C++, and so does one that leaves
 *   a thread of your own. That ends the worker.
 * - The constructor, `run` and the destructor are called on one thread, one call at a time.
 * - The rest is as gm_plugin.h says. You can mix the two: `job.c_job()` and `context.c_context()` are what its functions
 *   take.
 */
#ifndef GM_PLUGIN_HPP
#define GM_PLUGIN_HPP

#if !defined(__cplusplus) || __cplusplus < 201703L
#error "gm_plugin.hpp needs C++17: compile with -std=c++17 or later"
#endif
#if !defined(__cpp_exceptions)
#error "gm_plugin.hpp needs exceptions: compile without -fno-exceptions, or use gm_plugin.h"
#endif

#include "gm_plugin.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cxxabi.h>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace gm {

/* Levels of log records: the smaller the more severe. */
enum class Level { error = GM_ERROR, warn = GM_WARN, info = GM_INFO, debug = GM_DEBUG, trace = GM_TRACE };

/* Throw it to fail a job, or the start of a worker, with exactly this message. */
class Failure : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/*
 * Throw it to fail a job with a Gearman exception: its caller gets these bytes. Only clients that asked for exceptions
 * understand one; see gm_exception.
 */
class Exception : public std::exception {
public:
    explicit Exception(std::string payload) : payload_(std::move(payload)) {}
    const std::string &payload() const noexcept { return payload_; }
    const char *what() const noexcept override { return payload_.c_str(); }

private:
    std::string payload_;
};

/*
 * What follows is not for plugins. Parameters of templates end with _: a function of yours may have any other name, and
 * g++ -Wshadow looks at templates where they are used.
 */
namespace detail {

/*
 * Results that were handed over. The worker frees a result by the address of its bytes, and a std::string or std::vector
 * cannot be made from that, so the object itself is kept here until then. There are as many as the worker has yet to
 * send: mostly one.
 */
struct Kept {
    virtual ~Kept() = default;
    virtual const void *bytes() const noexcept = 0;
    virtual std::size_t size() const noexcept = 0;
    std::unique_ptr<Kept> next;
};

template <class Bytes>
struct KeptBytes final : Kept {
    explicit KeptBytes(Bytes &&bytes_) : value(std::move(bytes_)) {}
    const void *bytes() const noexcept override { return value.data(); }
    std::size_t size() const noexcept override { return value.size(); }
    Bytes value;
};

struct KeptList {
    std::mutex mutex;
    std::unique_ptr<Kept> first;
};

/*
 * Each library has its own. Never destroyed: the worker may free a result after the library's static objects are gone.
 */
__attribute__((visibility("hidden"))) inline KeptList &kept() {
    static KeptList &list = *new KeptList;
    return list;
}

inline void release(void *bytes) {
    KeptList &list = kept();
    /* Freed after the lock is released. */
    std::unique_ptr<Kept> found;
    const std::lock_guard<std::mutex> lock(list.mutex);
    for (std::unique_ptr<Kept> *link = &list.first; *link; link = &(*link)->next) {
        if ((*link)->bytes() == bytes) {
            found = std::move(*link);
            *link = std::move(found->next);
            return;
        }
    }
}

inline int hand_over(gm_job *job, std::unique_ptr<Kept> result) {
    void *bytes = const_cast<void *>(result->bytes());
    const std::size_t size = result->size();
    if (size == 0) return gm_result(job, nullptr, 0);
    {
        KeptList &list = kept();
        const std::lock_guard<std::mutex> lock(list.mutex);
        result->next = std::move(list.first);
        list.first = std::move(result);
    }
    return gm_result_owned(job, bytes, size, release);
}

/* The type of the exception that is being handled. */
inline std::string exception_type() {
    const std::type_info *type = abi::__cxa_current_exception_type();
    if (!type) return "an exception of another language";
    int status = 0;
    const std::unique_ptr<char, void (*)(void *)> name(abi::__cxa_demangle(type->name(), nullptr, nullptr, &status),
                                                       std::free);
    return name ? name.get() : type->name();
}

/* How many exceptions within exceptions a message names. */
constexpr int deepest = 8;

inline void describe(std::string &text, int depth);

/* Appends a description of the exceptions that are nested in this one. */
inline void describe_nested(std::string &text, const std::exception &error, int depth) {
#if defined(__cpp_rtti)
    try {
        std::rethrow_if_nested(error);
    } catch (...) {
        text += "; caused by ";
        if (depth < deepest) describe(text, depth + 1);
        else text += "more";
    }
#else
    (void)text, (void)error, (void)depth;
#endif
}

/* Appends a description of the exception that is being handled, and of those nested in it. */
inline void describe(std::string &text, int depth) {
    try {
        throw;
    } catch (const Failure &error) {
        text += error.what();
        describe_nested(text, error, depth);
    } catch (const std::exception &error) {
        const char *what = error.what() ? error.what() : "";
        const std::string type = exception_type();
        text += type;
        if (*what && type != what) text.append(": ").append(what);
        describe_nested(text, error, depth);
    } catch (const std::string &error) {
        text.append("std::string: ").append(error);
    } catch (const char *error) {
        text.append("char const*: ").append(error ? error : "NULL");
    } catch (...) {
        text += exception_type();
    }
}

/* The same as a text. */
inline std::string description() {
    std::string text;
    describe(text, 0);
    return text;
}

/* Frees memory that was not handed over after all. */
struct Release {
    void (*function)(void *bytes) = nullptr;
    void operator()(void *bytes) const {
        if (function) function(bytes);
    }
};

template <class T>
constexpr bool is_byte = sizeof(T) == 1 && (std::is_integral_v<T> || std::is_same_v<T, std::byte>) &&
                         !std::is_same_v<std::remove_cv_t<T>, bool>;

} // namespace detail

/*
 * What a function returns: nothing, a text, or bytes. It is made from what you return:
 *
 * - a std::string or a std::vector of bytes (char, unsigned char, std::byte): moved, and sent from where it is, without a
 *   copy. Return a variable by its name, or std::move a member;
 * - a std::string_view or a string literal: copied;
 * - Result::owned(bytes, size, release): memory of another allocator, sent without a copy;
 * - {}: an empty result.
 */
class Result {
public:
    Result() = default;
    /* Two each: up to C++17, `return text;` moves only into a constructor that takes exactly a std::string &&. */
    Result(std::string &&text) : text_(std::move(text)) {}
    Result(const std::string &text) : text_(text) {}
    Result(std::string_view text) : text_(text) {}
    Result(const char *text) : text_(text ? text : "") {}

    template <class T, class Allocator, class = std::enable_if_t<detail::is_byte<T>>>
    Result(std::vector<T, Allocator> &&bytes_)
        : kept_(std::make_unique<detail::KeptBytes<std::vector<T, Allocator>>>(std::move(bytes_))) {}
    template <class T, class Allocator, class = std::enable_if_t<detail::is_byte<T>>>
    Result(const std::vector<T, Allocator> &bytes_) : Result(std::vector<T, Allocator>(bytes_)) {}

    /* Memory that release(bytes) frees, on any thread: `std::free` for memory of malloc. See gm_result_owned. */
    static Result owned(void *bytes, std::size_t size, void (*release)(void *bytes)) {
        Result result;
        result.owned_ = {bytes, detail::Release{release}};
        result.owned_size_ = size;
        return result;
    }

    /* Ends the job with this result. Returns what a `run` for gm_plugin.h returns. */
    int give(gm_job *job) && {
        if (owned_) {
            void (*release)(void *) = owned_.get_deleter().function;
            return gm_result_owned(job, owned_.release(), owned_size_, release);
        }
        if (kept_) return detail::hand_over(job, std::move(kept_));
        if (text_.empty()) return 0;
        if (text_.size() < worth_handing_over) return gm_result(job, text_.data(), text_.size());
        return detail::hand_over(job, std::make_unique<detail::KeptBytes<std::string>>(std::move(text_)));
    }

private:
    /* Below it, a copy costs less. */
    static constexpr std::size_t worth_handing_over = 256;

    std::string text_;
    std::unique_ptr<detail::Kept> kept_;
    std::unique_ptr<void, detail::Release> owned_;
    std::size_t owned_size_ = 0;
};

/* One job. It is valid until `run` returns. */
class Job {
public:
    explicit Job(gm_job *job) noexcept : job_(job) {}
    Job(const Job &) = delete;
    Job &operator=(const Job &) = delete;

    std::string_view workload() const noexcept { return {gm_workload(job_), gm_workload_size(job_)}; }
    /* The job server's handle. */
    std::string_view handle() const noexcept { return {gm_handle(job_), gm_handle_size(job_)}; }
    /* The client's unique id, which may be empty. */
    std::string_view unique() const noexcept { return {gm_unique(job_), gm_unique_size(job_)}; }
    /* The function's name with the job servers. */
    std::string_view function() const noexcept { return gm_function(job_); }

    /* Tells the caller how far the work is. On any thread; false where it was refused. It does not wait. */
    bool status(std::uint64_t done, std::uint64_t of) const noexcept { return gm_status(job_, done, of) != 0; }
    /* Sends a part of the result ahead of its end. On any thread; false where it was refused. It may wait. */
    bool data(std::string_view part) const noexcept { return gm_data(job_, part.data(), part.size()) != 0; }
    /* Sends a warning to the caller. As data. */
    bool warning(std::string_view text) const noexcept { return gm_warning(job_, text.data(), text.size()) != 0; }
    /* True once the worker is asked to stop: long work should then end early. On any thread. */
    bool stopping() const noexcept { return gm_stopping(job_) != 0; }

    /* A record for the manager's log. On any thread. */
    void log(Level level, std::string_view text) const noexcept {
        if (log_wanted(level)) job_->host->log(job_, static_cast<int>(level), text.data(), text.size());
    }
    /* Whether a record of that level is written, where its text costs time to make. */
    bool log_wanted(Level level) const noexcept { return job_->host->log_wanted(static_cast<int>(level)) != 0; }

    /* For the functions of gm_plugin.h. */
    gm_job *c_job() const noexcept { return job_; }

private:
    gm_job *job_;
};

/*
 * What a constructor gets. It is valid until the constructor returns. The values of settings are valid until the
 * destructor returns, and a NUL follows each.
 */
class Context {
public:
    explicit Context(gm_context *context) noexcept : context_(context) {}
    Context(const Context &) = delete;
    Context &operator=(const Context &) = delete;

    /* The function's name with the job servers. */
    std::string_view function() const noexcept { return gm_context_function(context_); }

    /* The value of `setting.NAME = VALUE` in the function's section, where it is set. */
    std::optional<std::string_view> setting(const char *name) const {
        const char *value = gm_setting(context_, name);
        return value ? std::optional<std::string_view>(value) : std::nullopt;
    }

    /* The same; throws a Failure where it is not set. */
    std::string_view required(const char *name) const {
        const char *value = gm_setting(context_, name);
        if (!value) throw Failure(std::string("setting.") + name + " is missing");
        return value;
    }

    /* A setting that is a whole number, or `otherwise`. Throws a Failure for anything else. */
    long long integer(const char *name, long long otherwise) const {
        const char *value = gm_setting(context_, name);
        if (!value) return otherwise;
        try {
            std::size_t length = 0;
            const long long number = std::stoll(value, &length);
            if (value[length] == 0) return number;
        } catch (const std::logic_error &) {
        }
        throw Failure(std::string("setting.") + name + " = " + value + " is no whole number, or too large");
    }

    /* All settings. */
    std::vector<std::pair<std::string_view, std::string_view>> settings() const {
        std::vector<std::pair<std::string_view, std::string_view>> all;
        const char *name = nullptr;
        while (const char *value = gm_setting_at(context_, all.size(), &name)) all.emplace_back(name, value);
        return all;
    }

    /* For the functions of gm_plugin.h. */
    gm_context *c_context() const noexcept { return context_; }

private:
    gm_context *context_;
};

namespace detail {

/* Fails the job with the exception that is being handled. */
inline int fail_job(gm_job *job) noexcept {
    try {
        try {
            throw;
        } catch (const Exception &exception) {
            return gm_exception(job, exception.payload().data(), exception.payload().size());
        } catch (...) {
            const std::string text = description();
            return job->host->fail(job, text.data(), text.size());
        }
    } catch (...) {
        return gm_fail(job, "an exception that cannot be described: out of memory");
    }
}

/* Fails the start with the exception that is being handled. */
inline int fail_create(gm_context *context) noexcept {
    try {
        const std::string text = description();
        return context->host->create_failed(context, text.data(), text.size());
    } catch (...) {
        return gm_create_failed(context, "an exception that cannot be described: out of memory");
    }
}

/* Runs a job: whatever is thrown fails it. */
template <class Run>
int run_job(gm_job *job_, Run &&run_) noexcept {
    try {
        Job wrapped_(job_);
        if constexpr (std::is_void_v<decltype(run_(wrapped_))>) {
            run_(wrapped_);
            return 0;
        } else {
            return Result(run_(wrapped_)).give(job_);
        }
    } catch (...) {
        return fail_job(job_);
    }
}

/* The three functions of an entry, for a class. */
template <class Type>
struct Object {
    static int create(gm_context *context_, void **state_) noexcept {
        static_assert(std::is_constructible_v<Type, Context &> || std::is_default_constructible_v<Type>,
                      "the class of a GM_CLASS needs a constructor that takes a gm::Context &, or nothing");
        try {
            Context wrapped_(context_);
            if constexpr (std::is_constructible_v<Type, Context &>) {
                *state_ = new Type(wrapped_);
            } else {
                *state_ = new Type();
            }
            return 0;
        } catch (...) {
            return fail_create(context_);
        }
    }

    static int run(void *state_, gm_job *job_) noexcept {
        Type &object_ = *static_cast<Type *>(state_);
        return run_job(job_, [&object_](Job &wrapped_) { return object_.run(wrapped_); });
    }

    static void destroy(void *state_) noexcept { delete static_cast<Type *>(state_); }
};

} // namespace detail
} // namespace gm

/*
 * A function without state. Its body follows: `job` is a gm::Job &, and what it returns becomes a gm::Result.
 *
 * `name` is the function's and the library's name, so nothing else in the library can have it.
 */
#undef GM_FUNCTION
#define GM_FUNCTION(name)                                                                                              \
    static gm::Result gm_run_##name(gm::Job &job);                                                                     \
    static int gm_call_##name(void *, gm_job *job) noexcept { return gm::detail::run_job(job, gm_run_##name); }        \
    GM_OBJECT(name, nullptr, gm_call_##name, nullptr);                                                                 \
    static gm::Result gm_run_##name([[maybe_unused]] gm::Job &job)

/*
 * A function with state: a class with `run(gm::Job &)`, which returns nothing or what a gm::Result is made from. Its
 * constructor takes a gm::Context &, or nothing. The worker makes one object when it starts, before its first job, and
 * destroys it when it ends.
 */
#define GM_CLASS(name, ...)                                                                                            \
    using gm_object_##name = gm::detail::Object<__VA_ARGS__>;                                                          \
    GM_OBJECT(name, gm_object_##name::create, gm_object_##name::run, gm_object_##name::destroy)

#endif
