// The allocation functions of the C library, counted. A program that links this file uses them in
// place of the library's, in all of its libraries too.
#define _GNU_SOURCE
#include "CProcessCosts.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread uint64_t allocations;

uint64_t costs_allocations(void) { return allocations; }

int costs_forbid_system_calls(void) { return prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); }

_Noreturn void costs_end_thread(void) {
    for (;;) syscall(SYS_exit, 0);
}

// A sanitizer has allocation functions of its own.
#if !defined(__SANITIZE_ADDRESS__) && !(defined(__has_feature) && \
    (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer)))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    allocations++;
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    allocations++;
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    void *memory = aligned_alloc(alignment, size);
    if (memory == NULL) return ENOMEM;
    *result = memory;
    return 0;
}

#endif
