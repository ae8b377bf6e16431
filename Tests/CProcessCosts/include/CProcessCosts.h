// Counts what a thread of this program allocates, and ends it at its first system call.
#pragma once
#include <stdint.h>

/// Allocations of the calling thread so far.
uint64_t costs_allocations(void);

/// From now on the calling thread may only read, write and end: the kernel kills it at any other system
/// call. Returns 0, or -1 where the kernel can not do that.
int costs_forbid_system_calls(void);

/// Ends the calling thread with the one system call that is still allowed for it.
_Noreturn void costs_end_thread(void);
