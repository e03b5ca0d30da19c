/* Submits one job with libgearman and prints each callback as a line of JSON.
 * HOST PORT FUNCTION UNIQUE normal|high|low|background, the workload on stdin. An empty UNIQUE: the library makes one. */

#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_data(const char *callback, gearman_task_st *task)
{
    const unsigned char *data = gearman_task_data(task);
    size_t size = gearman_task_data_size(task);
    printf("{\"callback\":\"%s\",\"data\":\"", callback);
    for (size_t i = 0; i < size; i++) {
        putchar("0123456789abcdef"[data[i] >> 4]);
        putchar("0123456789abcdef"[data[i] & 15]);
    }
    puts("\"}");
}

static gearman_return_t on_created(gearman_task_st *task)
{
    printf("{\"callback\":\"created\",\"handle\":\"%s\"}\n", gearman_task_job_handle(task));
    return GEARMAN_SUCCESS;
}

static gearman_return_t on_status(gearman_task_st *task)
{
    unsigned done = gearman_task_numerator(task), of = gearman_task_denominator(task);
    printf("{\"callback\":\"status\",\"done\":%u,\"of\":%u}\n", done, of);
    return GEARMAN_SUCCESS;
}

static gearman_return_t on_data(gearman_task_st *task)
{
    print_data("data", task);
    return GEARMAN_SUCCESS;
}

static gearman_return_t on_warning(gearman_task_st *task)
{
    print_data("warning", task);
    return GEARMAN_SUCCESS;
}

static gearman_return_t on_complete(gearman_task_st *task)
{
    print_data("complete", task);
    return GEARMAN_SUCCESS;
}

static gearman_return_t on_exception(gearman_task_st *task)
{
    print_data("exception", task);
    return GEARMAN_SUCCESS;
}

static gearman_return_t on_fail(gearman_task_st *task)
{
    (void)task;
    puts("{\"callback\":\"fail\"}");
    return GEARMAN_SUCCESS;
}

static char *read_all(size_t *size)
{
    size_t room = 1 << 16;
    char *text = malloc(room);
    *size = 0;
    for (size_t count; text && (count = fread(text + *size, 1, room - *size, stdin)) > 0;) {
        *size += count;
        if (*size == room) {
            text = realloc(text, room *= 2);
        }
    }
    return text;
}

static int give_up(gearman_client_st *client)
{
    fprintf(stderr, "C client: %s\n", gearman_client_error(client));
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        return 2;
    }
    const char *function = argv[3], *unique = *argv[4] ? argv[4] : NULL, *mode = argv[5];
    size_t size;
    char *workload = read_all(&size);
    if (!workload) {
        return 2;
    }
    gearman_client_st *client = gearman_client_create(NULL);
    if (!size) {
        /* libgearman takes no other pointer for an empty workload. */
        workload = NULL;
    }
    if (!client || gearman_failed(gearman_client_add_server(client, argv[1], atoi(argv[2])))) {
        return 2;
    }
    if (!strcmp(mode, "background")) {
        gearman_job_handle_t handle;
        if (gearman_failed(gearman_client_do_background(client, function, unique, workload, size, handle))) {
            return give_up(client);
        }
        printf("{\"callback\":\"created\",\"handle\":\"%s\"}\n", handle);
        return 0;
    }
    gearman_client_set_created_fn(client, on_created);
    gearman_client_set_status_fn(client, on_status);
    gearman_client_set_data_fn(client, on_data);
    gearman_client_set_warning_fn(client, on_warning);
    gearman_client_set_complete_fn(client, on_complete);
    gearman_client_set_exception_fn(client, on_exception);
    gearman_client_set_fail_fn(client, on_fail);
    gearman_return_t ret;
    if (!strcmp(mode, "high")) {
        gearman_client_add_task_high(client, NULL, NULL, function, unique, workload, size, &ret);
    } else if (!strcmp(mode, "low")) {
        gearman_client_add_task_low(client, NULL, NULL, function, unique, workload, size, &ret);
    } else {
        gearman_client_add_task(client, NULL, NULL, function, unique, workload, size, &ret);
    }
    if (gearman_failed(ret)) {
        return give_up(client);
    }
    /* A failed job is told by its callback; here it is not an error. */
    ret = gearman_client_run_tasks(client);
    if (gearman_failed(ret) && ret != GEARMAN_WORK_FAIL && ret != GEARMAN_WORK_EXCEPTION) {
        return give_up(client);
    }
    return 0;
}
