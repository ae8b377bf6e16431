/* What other processes do: hosts that die, stop or belong to somebody else, and children that were forked. */
#include "check.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Children ---- */

static int host_until_killed(const char *path) {
    char ready[300];
    rf_fabric *fabric = open_fabric(4 << 20, path);
    if (!fabric) return 1;
    snprintf(ready, sizeof ready, "%s-ready", path);
    if (mkdir(ready, 0700) != 0) return 1;
    for (;;) pause();
}

static int attach_as_nobody(const char *path) {
    rf_fabric *fabric = NULL;
    if (setgid(65534) != 0 || setuid(65534) != 0) return 1;
    return (int)rf_fabric_attach(path, "nobody", &fabric);
}

/* From now on a system call of this process and its threads fails with that error. Whether that could be had. */
static int forbid(long call, int error) {
    struct sock_filter rules[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr)},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
    };
    struct sock_fprog program;
    rules[1].k = (uint32_t)call;
    rules[2].k |= (uint32_t)error;
    program.len = sizeof rules / sizeof rules[0];
    program.filter = rules;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Opens a fabric where the system forbids io_uring, as containers do. */
static int open_without_uring(void) {
    rf_fabric_options options;
    rf_fabric *fabric = NULL;
    if (!forbid(SYS_io_uring_setup, EPERM)) return 1;
    rf_fabric_options_init(&options);
    options.capacity = 4 << 20;
    options.flags = RF_OPEN_NETWORK;
    options.transport = RF_TRANSPORT_URING_OR_NIO;
    if (rf_fabric_open(&options, &fabric) != RF_OK || rf_fabric_close(fabric) != RF_OK) return 1;
    if (pull_with("127.0.0.1", RF_TRANSPORT_URING_OR_NIO) != RF_OK) return 1;
    options.transport = RF_TRANSPORT_URING;
    return (int)rf_fabric_open(&options, &fabric);
}

/* Threads and closing where the system has no membarrier(2). */
static int use_threads_without_membarrier(void) {
    if (!forbid(SYS_membarrier, ENOSYS)) return 1;
    test_threads();
    return failures != 0;
}

/* The same where it was there once. */
static int lose_membarrier(void) {
    EXPECT(RF_OK, rf_fabric_close(open_fabric(4 << 20, NULL)));
    return use_threads_without_membarrier();
}

/* Opens a fabric as a user that may have no thread more than this one. Ends at once: a sanitizer's search for leaks wants
 * a thread too. */
static int open_without_threads(void) {
    struct rlimit none = {1, 1};
    rf_fabric_options options;
    rf_fabric *fabric = NULL;
    rf_status status;
    if (getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) return 1;
    if (setrlimit(RLIMIT_NPROC, &none) != 0) return 1;
    rf_fabric_options_init(&options);
    options.capacity = 4 << 20;
    status = rf_fabric_open(&options, &fabric);
    _exit(strstr(rf_last_error(), "EAGAIN") ? (int)status : 1);
}

/* Connects where there is no network at all. */
static int connect_without_network(void) {
    rf_fabric *fabric;
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return WITHOUT_NAMESPACES;
    fabric = open_node(NULL, "0123456789abcdef");
    return fabric ? (int)rf_fabric_connect(fabric, "10.1.2.3:7", 5 * SECOND, NULL) : 1;
}

static int unix_socket(const char *path, struct sockaddr_un *place) {
    size_t length = strlen(path);
    memset(place, 0, sizeof *place);
    place->sun_family = AF_UNIX;
    memcpy(place->sun_path, path, length < sizeof place->sun_path ? length : sizeof place->sun_path - 1);
    return socket(AF_UNIX, SOCK_SEQPACKET, 0);
}

/* Says to a host what no client says. */
static int babble(const char *path) {
    struct sockaddr_un place;
    char answer[512];
    int talker = unix_socket(path, &place);
    if (connect(talker, (struct sockaddr *)&place, sizeof place) != 0) return 1;
    if (send(talker, "what no client says", 19, 0) != 19) return 2;
    while (recv(talker, answer, sizeof answer, 0) > 0) continue;
    return 0;
}

/* Says to a client what no host says: nonsense, or that it refuses with a code that is none. */
static int pretend_to_host(const char *path, const char *answer, size_t size) {
    struct sockaddr_un place;
    char hello[512], early[256];
    int connection, listener;
    /* The socket has its name only once it listens. */
    snprintf(early, sizeof early, "%s-early", path);
    listener = unix_socket(early, &place);
    if (bind(listener, (struct sockaddr *)&place, sizeof place) != 0 || listen(listener, 1) != 0) return 1;
    if (rename(early, path) != 0) return 1;
    connection = accept(listener, NULL, NULL);
    if (recv(connection, hello, sizeof hello, 0) <= 0) return 2;
    if (send(connection, answer, size, 0) != (ssize_t)size) return 3;
    while (recv(connection, hello, sizeof hello, 0) > 0) continue;
    return 0;
}

int child_main(const char *role, const char *argument) {
    if (strcmp(role, "host") == 0) return host_until_killed(argument);
    if (strcmp(role, "nobody") == 0) return attach_as_nobody(argument);
    if (strcmp(role, "no-uring") == 0) return open_without_uring();
    if (strcmp(role, "no-membarrier") == 0) return use_threads_without_membarrier();
    if (strcmp(role, "no-threads") == 0) return open_without_threads();
    if (strcmp(role, "rdma") == 0) return (int)pull_with(argument, RF_TRANSPORT_VERBS);
    if (strcmp(role, "no-network") == 0) return connect_without_network();
    if (strcmp(role, "babble") == 0) return babble(argument);
    if (strcmp(role, "pretend") == 0) return pretend_to_host(argument, "what no host says", 17);
    if (strcmp(role, "refuse-0") == 0) return pretend_to_host(argument, "\2\0\0\0\0", 5);
    if (strcmp(role, "refuse-999") == 0) return pretend_to_host(argument, "\2\347\3\0\0", 5);
    if (strcmp(role, "late-membarrier") == 0) return lose_membarrier();
    return 1;
}

/* ---- Tests ---- */

static void lost_host(void) {
    char path[256], ready[sizeof path + 8];
    rf_fabric *fabric = NULL;
    rf_usage usage;
    rf_object_id id;
    rf_object *object = NULL;
    int host, status = 0;
    temporary_path(path, sizeof path, "host");
    rf_usage_init(&usage);
    snprintf(ready, sizeof ready, "%s-ready", path);
    host = start_child("host", path);
    /* The socket is there before anybody listens. */
    await_file(ready);
    rmdir(ready);
    EXPECT(RF_OK, rf_fabric_attach(path, "test", &fabric));
    id = put_text(fabric, "x");
    /* Stopped: what needs its answer ends after five seconds. */
    CHECK(kill(host, SIGSTOP) == 0);
    CHECK(waitpid(host, &status, WUNTRACED) == host && WIFSTOPPED(status));
    EXPECT(RF_PEER_UNRESPONSIVE, rf_fabric_usage(fabric, &usage));
    CHECK(kill(host, SIGKILL) == 0);
    CHECK(end_of(host) == -1);
    id = missing_id(id, 1);
    EXPECT(RF_HOST_LOST, rf_get(fabric, &id, 20 * SECOND, &object, NULL));
    EXPECT(RF_OK, rf_fabric_close(fabric));
    unlink(path);
}

static void strange_hosts(void) {
    static const char *const roles[] = {"pretend", "refuse-0", "refuse-999"};
    char path[256];
    rf_fabric *fabric = NULL;
    size_t index;
    for (index = 0; index < sizeof roles / sizeof roles[0]; index++) {
        int child;
        temporary_path(path, sizeof path, roles[index]);
        child = start_child(roles[index], path);
        await_file(path);
        EXPECT(RF_PROTOCOL_VIOLATION, rf_fabric_attach(path, "test", &fabric));
        CHECK(end_of(child) == 0);
        unlink(path);
    }
    temporary_path(path, sizeof path, "nobody");
    if (getuid() == 0) {
        fabric = open_fabric(4 << 20, path);
        EXPECT(RF_ATTACH_REFUSED, end_of(start_child("nobody", path)));
        EXPECT(RF_OK, rf_fabric_close(fabric));
    }
}

static void poor_systems(void) {
    EXPECT(RF_IO_URING_FORBIDDEN, end_of(start_child("no-uring", "")));
    EXPECT(RF_SYSTEM, end_of(start_child("no-threads", "")));
    CHECK(end_of(start_child("no-membarrier", "")) == 0);
    CHECK(end_of(start_child("late-membarrier", "")) == 0);
}

static void without_network(void) {
    int status = end_of(start_child("no-network", ""));
    has_namespaces = status != WITHOUT_NAMESPACES;
    if (has_namespaces) EXPECT(RF_UNREACHABLE, status);
}

/* A forked child gets a status from everything, and does the parent no harm. */
static void forked_child(void) {
    rf_fabric *fabric = open_fabric(4 << 20, NULL), *other;
    rf_object_id id = put_text(fabric, "x");
    rf_object *object = NULL;
    rf_queue *queue = NULL;
    rf_view view;
    int status = 0;
    pid_t child;
    EXPECT(RF_OK, rf_queue_create(fabric, 1, &queue));
    EXPECT(RF_OK, rf_get(fabric, &id, SECOND, &object, NULL));
    fflush(NULL);
    child = fork();
    if (child == 0) {
        rf_fabric_options options;
        rf_view_init(&view);
        rf_fabric_options_init(&options);
        options.capacity = 4 << 20;
        _exit(rf_get(fabric, &id, SECOND, &object, NULL) == RF_FORKED &&
                      rf_put(fabric, "y", 1, NULL, 0, &id) == RF_FORKED &&
                      rf_object_view(object, &view) == RF_FORKED && rf_object_release(object) == RF_FORKED &&
                      rf_queue_close(queue) == RF_FORKED && rf_fabric_close(fabric) == RF_FORKED &&
                      rf_fabric_open(&options, &other) == RF_FORKED && rf_last_error()[0] != 0 &&
                      strcmp(rf_status_name(RF_FORKED), "RF_FORKED") == 0
                  ? RF_FORKED
                  : 0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    EXPECT(RF_FORKED, WEXITSTATUS(status));
    EXPECT(RF_OK, rf_object_release(object));
    EXPECT(RF_OK, rf_queue_close(queue));
    EXPECT(RF_OK, rf_fabric_close(fabric));
}

void test_processes(void) {
    lost_host();
    strange_hosts();
    poor_systems();
    without_network();
    forked_child();
}
