/* A worker on libgearman, as its documentation shows one: HOST PORT FUNCTION. */

#include <libgearman/gearman.h>
#include <stdlib.h>
#include <string.h>

static gearman_return_t reverse(gearman_job_st *job, void *context)
{
    (void)context;
    const char *workload = gearman_job_workload(job);
    size_t size = gearman_job_workload_size(job);
    char *result = malloc(size ? size : 1);
    for (size_t i = 0; i < size; i++) {
        result[i] = workload[size - 1 - i];
    }
    gearman_return_t ret = gearman_job_send_complete(job, result, size);
    free(result);
    return ret;
}

int main(int argc, char **argv)
{
    gearman_worker_st *worker = gearman_worker_create(NULL);
    if (argc != 4 || gearman_failed(gearman_worker_add_server(worker, argv[1], atoi(argv[2])))) {
        return 2;
    }
    gearman_function_t function = gearman_function_create(reverse);
    if (gearman_failed(gearman_worker_define_function(worker, argv[3], strlen(argv[3]), function, 0, NULL))) {
        return 2;
    }
    while (gearman_success(gearman_worker_work(worker))) {
    }
    return 1;
}
