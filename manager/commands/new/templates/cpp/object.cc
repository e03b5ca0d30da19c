// The Gearman function my_function, with state that is kept from job to job.
#include "gm_plugin.hpp"

// Made once in each worker.
class MyFunction {
public:
    // Settings come from the configuration: `setting.shortest = 3` in the section [my_function]. Read all of them here: one
    // that is never read, such as a misspelt `setting.shortst`, is named in the log.
    explicit MyFunction(gm::Context &context) : shortest(context.integer("shortest", 1)) {}

    // Counts the words of the workload that are long enough.
    std::string run(gm::Job &job) {
        long long words = 0;
        long long length = 0;
        const auto end_word = [&] {
            words += length > 0 && length >= shortest;
            length = 0;
        };
        for (const char c : job.workload()) {
            if (static_cast<unsigned char>(c) > ' ') length++;
            else end_word();
        }
        end_word();
        total += words;
        job.log(gm::Level::info, std::to_string(words) + " words, " + std::to_string(total) + " so far");
        return std::to_string(words);
    }

private:
    const long long shortest;
    long long total = 0;
};

GM_CLASS(my_function, MyFunction);
