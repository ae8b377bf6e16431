/* What only C can hold: state of threads, and news of a fork. For RayFabricC alone; not installed. */
#ifndef RAYFABRIC_THREAD_STATE_H
#define RAYFABRIC_THREAD_STATE_H

#include <pthread.h> /* of thread-specific data */
#include <stddef.h>
#include <stdint.h>

/* Room for the text of rf_last_error(), with its final zero. */
#define RAYFABRIC_ERROR_BYTES 512

/* The text of this thread. */
char *rayfabric_error_text(void);

/* A number that differs between threads, mostly. */
uint32_t rayfabric_thread_number(void);

/* From now on a forked child knows that it is one. */
void rayfabric_watch_forks(void);

/* Whether this process is a child forked after that. */
extern int32_t rayfabric_fork_flag;
static inline int32_t rayfabric_has_forked(void) { return __atomic_load_n(&rayfabric_fork_flag, __ATOMIC_RELAXED); }

#endif
