// Linux interfaces that the Glibc module does not show to Swift: macros, variadic calls and
// functions behind _GNU_SOURCE. One call each, no logic.
//
// _GNU_SOURCE must stay undefined here: with it, types such as fd_set differ from those of Swift's
// Glibc module, and the two can not be imported together. GNU-only calls go through syscall().
#ifndef RAYFABRIC_CLINUX_H
#define RAYFABRIC_CLINUX_H

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <linux/memfd.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const int RF_F_ADD_SEALS = 1033;  // F_ADD_SEALS, see fcntl(2)
static const int RF_F_GET_SEALS = 1034;  // F_GET_SEALS
static const int RF_F_DUPFD_CLOEXEC = F_DUPFD_CLOEXEC;
static const int64_t RF_TMPFS_MAGIC = 0x01021994;  // the file system of memfds without huge pages
static const int RF_SEAL_SEAL = 1;
static const int RF_SEAL_SHRINK = 2;
static const int RF_SEAL_GROW = 4;
static const int RF_SEAL_FUTURE_WRITE = 16;  // since Linux 5.1
static const unsigned int RF_MFD_FLAGS = MFD_CLOEXEC | MFD_ALLOW_SEALING;
static const int RF_MADV_POPULATE_READ = 22;   // since Linux 5.14
static const int RF_MADV_POPULATE_WRITE = 23;  // since Linux 5.14
static const int RF_MADV_HUGEPAGE = MADV_HUGEPAGE;
static const int RF_MADV_COLLAPSE = 25;        // since Linux 6.1
static const int RF_MADV_DONTDUMP = MADV_DONTDUMP;
static const int RF_EVENTFD_FLAGS = EFD_CLOEXEC | EFD_NONBLOCK;
static const int RF_MSG_DONTWAIT = MSG_DONTWAIT;
// Members of enumerations: with SwiftNIO in the same module Swift may take them for another's.
static const int RF_IPPROTO_TCP = IPPROTO_TCP;
static const int RF_SHUT_WR = SHUT_WR;
static const int RF_SHUT_RDWR = SHUT_RDWR;
static const int RF_SOCK_SEQPACKET = SOCK_SEQPACKET;
static const int RF_SOCK_STREAM = SOCK_STREAM;
static const int RF_SOCK_DGRAM = SOCK_DGRAM;
static const int RF_SOCK_CLOEXEC = SOCK_CLOEXEC;
static const int RF_SOCK_NONBLOCK = SOCK_NONBLOCK;

static const int RF_MSG_WAITALL = MSG_WAITALL;
static const int RF_MSG_NOSIGNAL = MSG_NOSIGNAL;

static inline int rf_errno(void) { return errno; }

extern char **environ;
static inline char **rf_environment(void) { return environ; }

static inline int rf_flush_output(void) { return fflush(stdout); }

static inline int rf_open(const char *path, int flags) { return open(path, flags); }
static inline int rf_open_at(int folder, const char *path, int flags) { return openat(folder, path, flags); }

static inline int rf_create(const char *path, unsigned mode) {
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC, mode);
}

static inline int rf_set_nonblocking(int fd) { return fcntl(fd, F_SETFL, O_NONBLOCK); }

// A new or emptied file to write to.
static inline int rf_create_empty(const char *path) {
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

static inline int rf_memfd_create(const char *name) {
    return (int)syscall(SYS_memfd_create, name, RF_MFD_FLAGS);
}

static inline int rf_add_seals(int fd, int seals) {
    return fcntl(fd, RF_F_ADD_SEALS, seals);
}

static inline int rf_punch_hole(int fd, int64_t offset, int64_t length) {
    return (int)syscall(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

static inline int rf_fallocate(int fd, int64_t offset, int64_t length) {
    return (int)syscall(SYS_fallocate, fd, 0, offset, length);
}

static inline void *rf_map_failed(void) { return MAP_FAILED; }

static inline int rf_futex_wait(uint32_t *word, uint32_t expected, const struct timespec *timeout) {
    return (int)syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout, (void *)0, 0);
}

static inline int rf_futex_wake(uint32_t *word, int count) {
    return (int)syscall(SYS_futex, word, FUTEX_WAKE, count, (void *)0, (void *)0, 0);
}

static inline int rf_pidfd_open(pid_t pid) {
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static inline int rf_pin_thread(int cpu) {
    unsigned long set[16] = {0};
    if (cpu < 0 || (size_t)cpu >= sizeof set * 8) return -1;
    set[(size_t)cpu / (sizeof set[0] * 8)] = 1ul << ((size_t)cpu % (sizeof set[0] * 8));
    return (int)syscall(SYS_sched_setaffinity, 0, sizeof set, set);
}

static inline int rf_name_thread(const char *name) {
    return (int)syscall(SYS_prctl, 15 /* PR_SET_NAME */, name, 0, 0, 0);
}

// Signals are for the program's own threads, not for the library's, except those a thread causes.
static inline void rf_block_signals(void) {
    sigset_t all;
    sigfillset(&all);
    const int own[] = {SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGTRAP, SIGABRT};
    for (unsigned i = 0; i < sizeof own / sizeof own[0]; i++) sigdelset(&all, own[i]);
    pthread_sigmask(SIG_BLOCK, &all, (sigset_t *)0);
}

// Fills `mask` with one bit for each CPU that the thread may use; returns the bytes filled.
static inline int rf_get_affinity(void *mask, size_t bytes) {
    return (int)syscall(SYS_sched_getaffinity, 0, bytes, mask);
}

// Sends `signal` to this process when the thread that started it ends.
static inline int rf_signal_on_parent_death(int signal) {
    return prctl(PR_SET_PDEATHSIG, (unsigned long)signal);
}

static inline void rf_default_signal(int number) { signal(number, SIG_DFL); }

static inline int rf_fcntl_int(int fd, int command, int value) {
    return fcntl(fd, command, value);
}

static inline void rf_cpu_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Cycle counter of the CPU, for benchmarks; calibrate against CLOCK_MONOTONIC.
static inline uint64_t rf_cycles(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

static inline uint64_t rf_monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// For writing: asks for the cache line's ownership.
static inline void rf_prefetch_write(const void *address) { __builtin_prefetch(address, 1, 3); }

// Waits at most `nanoseconds` until `fd` is readable; ppoll is hidden without _GNU_SOURCE.
static inline int rf_wait_readable(int fd, int64_t nanoseconds) {
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    struct timespec timeout = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    return (int)syscall(SYS_ppoll, &entry, 1, &timeout, (void *)0, 0);
}

static inline void rf_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

// Socket addresses by their storage type: glibc's own prototypes take a union that Swift does not know.
static inline int rf_getsockname(int socket, struct sockaddr_storage *name, socklen_t *length) {
    return getsockname(socket, (struct sockaddr *)name, length);
}

static inline int rf_getpeername(int socket, struct sockaddr_storage *name, socklen_t *length) {
    return getpeername(socket, (struct sockaddr *)name, length);
}

static inline int rf_bind(int socket, const struct sockaddr_storage *name, socklen_t length) {
    return bind(socket, (const struct sockaddr *)name, length);
}

static inline int rf_connect(int socket, const struct sockaddr_storage *name, socklen_t length) {
    return connect(socket, (const struct sockaddr *)name, length);
}

static inline int rf_set_option(int socket, int level, int name, int value) {
    return setsockopt(socket, level, name, &value, sizeof value);
}

// Ends a TCP connection at once and throws away what is queued.
static inline int rf_disconnect(int socket) {
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    return connect(socket, &none, sizeof none);
}

static inline int rf_set_congestion_control(int socket, const char *name) {
    return setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name, strlen(name));
}

static inline int rf_set_send_timeout(int socket, int seconds) {
    struct timeval limit = {.tv_sec = seconds};
    return setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

static inline int rf_listen(int socket, int backlog) { return listen(socket, backlog); }

// Without waiting and without SIGPIPE.
static inline ssize_t rf_send(int socket, const void *bytes, size_t count) {
    return send(socket, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// Without waiting.
static inline ssize_t rf_receive(int socket, void *bytes, size_t capacity) {
    return recv(socket, bytes, capacity, MSG_DONTWAIT);
}

// The pending error of a socket, which it forgets.
static inline int rf_socket_error(int socket) {
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

// One message with up to `fd_count` descriptors (at most 8) over a Unix socket.
static inline ssize_t rf_send_with_fds(int socket, const void *bytes, size_t count,
                                       const int *fds, int fd_count, int flags) {
    struct iovec iov = {.iov_base = (void *)bytes, .iov_len = count};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * 8)];
        struct cmsghdr align;
    } control;
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)fd_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)fd_count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * (size_t)fd_count);
    }
    return sendmsg(socket, &message, flags | MSG_NOSIGNAL);
}

// Receives one message and at most 8 descriptors, close-on-exec. `fd_count` is the number received.
// Fails with EMFILE, and loses the message, when the process has no room for all of the descriptors.
static inline ssize_t rf_receive_with_fds(int socket, void *bytes, size_t capacity,
                                          int *fds, int *fd_count, int flags) {
    struct iovec iov = {.iov_base = bytes, .iov_len = capacity};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * 8)];
        struct cmsghdr align;
    } control;
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1,
                             .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    *fd_count = 0;
    ssize_t received = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
    if (received < 0) return received;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
        int n = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < n && *fd_count < 8; i++)
            memcpy(&fds[(*fd_count)++], CMSG_DATA(h) + sizeof(int) * (size_t)i, sizeof(int));
    }
    if (message.msg_flags & MSG_CTRUNC) {
        while (*fd_count > 0) close(fds[--(*fd_count)]);
        errno = EMFILE;
        return -1;
    }
    return received;
}

// Credentials of the process at the other end of a connected Unix socket.
static inline int rf_peer_credentials(int socket, pid_t *pid, uid_t *uid, gid_t *gid) {
    struct {
        pid_t pid;
        uid_t uid;
        gid_t gid;
    } credentials;
    socklen_t length = sizeof credentials;
    int result = getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length);
    if (result == 0) {
        *pid = credentials.pid;
        *uid = credentials.uid;
        *gid = credentials.gid;
    }
    return result;
}

static const int RF_POLLRDHUP = 0x2000;  // POLLRDHUP, see poll(2)
static const int RF_EPOLL_FLAGS = EPOLL_CLOEXEC;

static inline int rf_epoll_add(int epoll, int fd, uint64_t tag) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = tag};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static inline int rf_epoll_remove(int epoll, int fd) { return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, (void *)0); }

// Writes the tags of at most 64 ready descriptors.
static inline int rf_epoll_wait(int epoll, uint64_t *tags, int capacity, int timeout) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll, events, capacity < 64 ? capacity : 64, timeout);
    for (int i = 0; i < count; i++) tags[i] = events[i].data.u64;
    return count;
}

// Supplementary groups of the process at the other end; their number, or -1.
static inline int rf_peer_groups(int socket, gid_t *groups, int capacity) {
    socklen_t length = (socklen_t)((size_t)capacity * sizeof(gid_t));
    int result = getsockopt(socket, SOL_SOCKET, 59 /* SO_PEERGROUPS */, groups, &length);
    return result == 0 ? (int)(length / sizeof(gid_t)) : -1;
}

static inline int rf_accept(int socket) {
    return (int)syscall(SYS_accept4, socket, (void *)0, (void *)0, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

#endif
