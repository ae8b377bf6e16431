/* State of threads, and news of a fork. */
#include "rayfabric.h"
#include "thread_state.h"

#include <pthread.h>

int32_t rayfabric_fork_flag = 0;

static __thread char error_text[RAYFABRIC_ERROR_BYTES];
static __thread uint32_t thread_number;
static uint32_t last_thread_number;

char *rayfabric_error_text(void) { return error_text; }

uint32_t rayfabric_thread_number(void) {
    if (thread_number == 0) thread_number = __atomic_add_fetch(&last_thread_number, 1, __ATOMIC_RELAXED);
    return thread_number;
}

static void in_child(void) { __atomic_store_n(&rayfabric_fork_flag, 1, __ATOMIC_RELAXED); }

static void watch(void) { (void)pthread_atfork(NULL, NULL, in_child); }

void rayfabric_watch_forks(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, watch);
}
