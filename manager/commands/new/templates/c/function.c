/* The Gearman function my_function. */
#include "gm_plugin.h"

/* Counts the words of the workload. */
GM_FUNCTION(my_function) {
    const char *text = gm_workload(job);
    size_t words = 0;
    int inside = 0;
    for (size_t i = 0; i < gm_workload_size(job); i++) {
        int letter = (unsigned char)text[i] > ' ';
        words += letter && !inside;
        inside = letter;
    }
    gm_log(job, GM_INFO, "%zu words", words);
    return gm_resultf(job, "%zu", words);
}
