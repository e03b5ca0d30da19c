// Replaces everything in a text that a pattern matches, such as card numbers before a text is stored.
//
// RE2 matches in linear time, whatever the pattern and the text are. The pattern is compiled once, when a worker starts:
//
//     [redact]
//     setting.pattern = \d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}
//     setting.replacement = (card)
#include <gm_plugin.hpp>
#include <re2/re2.h>

class Redact {
public:
    explicit Redact(gm::Context &context)
        : pattern(std::string(context.required("pattern")), RE2::Quiet), replacement(context.setting("replacement").value_or("***")) {
        if (!pattern.ok()) throw gm::Failure("setting.pattern: " + pattern.error());
        std::string why;
        if (!pattern.CheckRewriteString(replacement, &why)) throw gm::Failure("setting.replacement: " + why);
    }

    std::string run(gm::Job &job) {
        std::string text(job.workload());
        const int replaced = RE2::GlobalReplace(&text, pattern, replacement);
        total += replaced;
        job.log(gm::Level::info, std::to_string(replaced) + " replaced, " + std::to_string(total) + " so far");
        return text;
    }

private:
    const RE2 pattern;
    const std::string replacement;
    long long total = 0;
};

GM_CLASS(redact, Redact);
