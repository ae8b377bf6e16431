/* Objects sent to and fro between two processes of a node. One hosts the store, the other attaches to it; a pipe
 * carries the identifiers, 24 bytes each.
 *
 *     cc ping.c $(pkg-config --cflags --libs rayfabric) -o ping && ./ping 1000
 */
#include <rayfabric.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { object_bytes = 1 << 20 };

static void require(rf_status status, const char *what) {
    if (status == RF_OK) return;
    fprintf(stderr, "%s: %s\n", what, rf_last_error());
    exit(1);
}

/* Puts an object whose bytes all are `value`, and sends its identifier. */
static rf_object_id send_object(rf_fabric *fabric, int pipe, unsigned char value) {
    rf_draft *draft;
    rf_object_id id;
    void *data;
    require(rf_draft_create(fabric, object_bytes, NULL, 0, &draft, &data), "create");
    memset(data, value, object_bytes);
    require(rf_draft_seal(draft, &id), "seal");
    if (write(pipe, &id, sizeof id) != sizeof id) exit(1);
    return id;
}

/* Receives an identifier, reads its object in place, and returns the value of its bytes. */
static int receive_object(rf_fabric *fabric, int pipe) {
    rf_object_id id;
    rf_object *object;
    rf_view view;
    int value;
    if (read(pipe, &id, sizeof id) != sizeof id) return -1;
    rf_view_init(&view);
    require(rf_get(fabric, &id, INT64_C(5000000000), &object, &view), "get");
    value = ((const unsigned char *)view.data)[view.size - 1];
    require(rf_object_release(object), "release");
    return value;
}

static int answer(const char *path, int in, int out) {
    rf_fabric *fabric;
    rf_object_id last;
    char ready;
    int value, has_last = 0;
    /* The host's first byte says that it is there. */
    if (read(in, &ready, 1) != 1) return 1;
    require(rf_fabric_attach(path, "answer", &fabric), "attach");
    while ((value = receive_object(fabric, in)) >= 0) {
        /* The next request shows that the last answer was read. */
        if (has_last) require(rf_delete(fabric, &last, 1), "delete");
        last = send_object(fabric, out, (unsigned char)(value + 1));
        has_last = 1;
    }
    require(rf_fabric_close(fabric), "close");
    return 0;
}

int main(int count, char **arguments) {
    int rounds = count > 1 ? atoi(arguments[1]) : 1000, there[2], back[2], round;
    char path[64];
    rf_fabric_options options;
    rf_fabric *fabric;
    struct timespec start, end;
    pid_t child;
    require(rf_check_version(), "version");
    snprintf(path, sizeof path, "/tmp/rayfabric-ping-%d", (int)getpid());
    if (pipe(there) != 0 || pipe(back) != 0) return 1;
    /* Fork first: a process that has opened a fabric can not share it with a forked child. */
    child = fork();
    if (child == 0) {
        close(there[1]);
        close(back[0]);
        return answer(path, there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    rf_fabric_options_init(&options);
    options.capacity = 256 << 20;
    options.path = path;
    require(rf_fabric_open(&options, &fabric), "open");
    if (write(there[1], "!", 1) != 1) return 1;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (round = 0; round < rounds; round++) {
        rf_object_id id = send_object(fabric, there[1], (unsigned char)(round % 200));
        if (receive_object(fabric, back[0]) != round % 200 + 1) return 1;
        require(rf_delete(fabric, &id, 1), "delete");
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    close(there[1]);
    waitpid(child, NULL, 0);
    require(rf_fabric_close(fabric), "close");
    printf("%d rounds of 1 MiB to and fro, %.1f us each\n", rounds,
           ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) / 1e3 / rounds);
    return 0;
}
