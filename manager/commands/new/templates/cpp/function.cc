// The Gearman function my_function.
#include "gm_plugin.hpp"

// Counts the words of the workload.
GM_FUNCTION(my_function) {
    std::size_t words = 0;
    bool inside = false;
    for (const char c : job.workload()) {
        const bool letter = static_cast<unsigned char>(c) > ' ';
        words += letter && !inside;
        inside = letter;
    }
    job.log(gm::Level::info, std::to_string(words) + " words");
    return std::to_string(words);
}
