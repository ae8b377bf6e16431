/* State of threads, fences, and news of a fork. */
#define _GNU_SOURCE
#include "rayfabric.h"
#include "thread_state.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

int32_t rayfabric_fork_flag = 0;

static __thread char error_text[RAYFABRIC_ERROR_BYTES];
static __thread uint32_t thread_number;
static uint32_t last_thread_number;

char *rayfabric_error_text(void) { return error_text; }

uint32_t rayfabric_thread_number(void) {
    if (thread_number == 0) thread_number = __atomic_add_fetch(&last_thread_number, 1, __ATOMIC_RELAXED);
    return thread_number;
}

__thread void *rayfabric_thread_record;

int32_t rayfabric_register_membarrier(void) {
    return (int32_t)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

int32_t rayfabric_membarrier(void) {
    return (int32_t)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

static void in_child(void) { __atomic_store_n(&rayfabric_fork_flag, 1, __ATOMIC_RELAXED); }

static void watch(void) { (void)pthread_atfork(NULL, NULL, in_child); }

void rayfabric_watch_forks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, watch);
}
