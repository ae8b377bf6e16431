/* Runs all tests of the C interface, then tells which statuses none of them provoked. */
#include "check.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

unsigned char seen[256];
int failures;
int is_slow;
int has_namespaces;
static int checks;

void check_status(rf_status expected, rf_status got, const char *call, const char *file, int line) {
    checks++;
    if (got >= 0 && got < 256 && got == expected) seen[got] = 1;
    if (got == expected) return;
    failures++;
    fprintf(stderr, "%s:%d: %s\n    is %s, not %s: %s\n", file, line, call, rf_status_name(got),
            rf_status_name(expected), rf_last_error());
}

void check_true(int is_true, const char *text, const char *file, int line) {
    checks++;
    if (is_true) return;
    failures++;
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, text);
}

rf_fabric *open_fabric(uint64_t capacity, const char *path) {
    rf_fabric_options options;
    rf_fabric *fabric = NULL;
    rf_fabric_options_init(&options);
    options.capacity = capacity;
    options.path = path;
    options.prefault = 1 << 20;
    EXPECT(RF_OK, rf_fabric_open(&options, &fabric));
    return fabric;
}

rf_fabric *open_node(const char *listen, const char *key) {
    rf_fabric_options options;
    rf_fabric *fabric = NULL;
    rf_fabric_options_init(&options);
    options.capacity = 16 << 20;
    options.prefault = 1 << 20;
    options.listen = listen;
    options.key = key;
    options.key_size = key ? strlen(key) : 0;
    options.flags = RF_OPEN_NETWORK;
    options.transport = RF_TRANSPORT_URING_OR_NIO;
    EXPECT(RF_OK, rf_fabric_open(&options, &fabric));
    return fabric;
}

rf_object_id put_text(rf_fabric *fabric, const char *text) {
    rf_object_id id;
    memset(&id, 0, sizeof id);
    EXPECT(RF_OK, rf_put(fabric, text, strlen(text), NULL, 0, &id));
    return id;
}

rf_object_id missing_id(rf_object_id near, uint8_t number) {
    near.bytes[RF_OBJECT_ID_BYTES - 8] = 0x7f;
    near.bytes[RF_OBJECT_ID_BYTES - 1] = number;
    return near;
}

void temporary_path(char *path, size_t capacity, const char *name) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, capacity, "%s/rf-test-%d-%s", folder ? folder : "/tmp", (int)getpid(), name);
}

int start_child(const char *role, const char *argument) {
    pid_t child;
    fflush(NULL);
    child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "test", role, argument, (char *)NULL);
        _exit(127);
    }
    return (int)child;
}

int end_of(int process) {
    int status = 0;
    if (waitpid((pid_t)process, &status, 0) != (pid_t)process) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void await_file(const char *path) {
    struct timespec pause = {0, 5000000};
    struct stat status;
    int tries;
    for (tries = 0; tries < 4000; tries++) {
        if (stat(path, &status) == 0) return;
        nanosleep(&pause, NULL);
    }
    CHECK(!"the file is there");
}

static void check_all_statuses(void) {
    rf_status status;
    CHECK(strcmp(rf_status_name(-1), "RF_UNKNOWN") == 0);
    for (status = 0; status < 256; status++) {
        int is_excused = 0;
        if (strcmp(rf_status_name(status), "RF_UNKNOWN") == 0) continue;
        /* Where there is an RDMA device, Tests/rdma/scenarios/c-interface.sh provokes it. */
        if (status == RF_LOCKED_MEMORY_LIMIT) is_excused = 1;
        if (status == RF_ATTACH_REFUSED && getuid() != 0) is_excused = 1;
        if (status == RF_UNREACHABLE && !has_namespaces) is_excused = 1;
        if (status == RF_TOO_MANY_HANDLES && is_slow) is_excused = 1;
        if (is_excused == (seen[status] != 0)) {
            failures++;
            fprintf(stderr, "%s was %s\n", rf_status_name(status), seen[status] ? "provoked after all" : "not provoked");
        }
    }
}

/* What is done at signals is not the library's to change. Whoever starts this program may have signals ignored. */
enum { signal_count = 32 };
static struct sigaction actions_before[signal_count];

static void note_actions(void) {
    int number;
    for (number = 1; number < signal_count; number++) sigaction(number, NULL, &actions_before[number]);
}

static void check_actions(void) {
    int number;
    for (number = 1; number < signal_count; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0) CHECK(action.sa_handler == actions_before[number].sa_handler);
    }
}

int main(int count, char **arguments) {
    extern char **environ;
    size_t variables = 0, after = 0;
    is_slow = getenv("RF_TEST_SLOW") != NULL;
    if (count == 3) return child_main(arguments[1], arguments[2]);
    note_actions();
    while (environ[variables]) variables++;
    EXPECT(RF_OK, rf_check_version());
    CHECK(rf_version() == RF_VERSION);
    CHECK(strcmp(rf_version_text(), "0.1.0") == 0);
    CHECK(RF_VERSION_AT_LEAST(0, 1) && !RF_VERSION_AT_LEAST(99, 0));
    CHECK(rf_last_error()[0] == 0);
    EXPECT(RF_ABI_MISMATCH, rf_check_abi(RF_ABI + 1, RF_VERSION));
    EXPECT(RF_ABI_MISMATCH, rf_check_abi(RF_ABI, RF_VERSION + 1));
    CHECK(strncmp(rf_last_error(), "RF_ABI_MISMATCH", 15) == 0);
    test_structures();
    test_objects();
    test_handles();
    test_queue();
    test_opening();
    test_limits();
    test_nodes();
    test_processes();
    test_threads();
    check_all_statuses();
    check_actions();
    while (environ[after]) after++;
    CHECK(variables == after);
    printf("%d checks, %d failed\n", checks, failures);
    return failures != 0;
}
