/* What only C can hold: state of threads, fences, and news of a fork. For RayFabricC alone; not installed. */
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

/* The record of this thread, see ThreadRecords.swift; NULL while it has none. In the part of thread-local
 * storage that costs one instruction, of which a library may have a few bytes, however it was loaded. */
extern __thread void *rayfabric_thread_record __attribute__((tls_model("initial-exec")));
static inline void *rayfabric_get_thread_record(void) { return rayfabric_thread_record; }
static inline void rayfabric_set_thread_record(void *record) { rayfabric_thread_record = record; }

/* membarrier(2): asks for its use, and makes each running thread of the process pass a full fence. 0, or -1 where the
 * system has it not. */
int32_t rayfabric_register_membarrier(void);
int32_t rayfabric_membarrier(void);

/* For the compiler alone: what is written before it is written before what follows is read. */
static inline void rayfabric_compiler_fence(void) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

/* From now on a forked child knows that it is one. */
void rayfabric_watch_forks(void);

/* Whether this process is a child forked after that. */
extern int32_t rayfabric_fork_flag;
static inline int32_t rayfabric_has_forked(void) { return __atomic_load_n(&rayfabric_fork_flag, __ATOMIC_RELAXED); }

#endif
