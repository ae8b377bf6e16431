// Shows the thread sanitizer what the libraries that are not instrumented do.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>

// Of `Synchronization.Mutex` the uncontended half is inlined into our code and seen. The contended
// half lives in the standard library: without these definitions everything that such a lock guards
// is reported as a race. They are found before those of the library, call them, and add what they
// mean.
#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define TRY_LOCK "$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

extern void __tsan_acquire(void *address);
extern void __tsan_release(void *address);

// Swift methods take `self` in the register of the Swift context.
#define METHOD __attribute__((swiftcall))
#define SELF __attribute__((swift_context)) void *

METHOD void rf_lock_slow(uint32_t thread, SELF mutex) __asm__(LOCK);
METHOD bool rf_try_lock_slow(SELF mutex) __asm__(TRY_LOCK);
METHOD void rf_unlock_slow(SELF mutex) __asm__(UNLOCK);

METHOD void rf_lock_slow(uint32_t thread, SELF mutex) {
    typedef METHOD void (*lock_slow)(uint32_t, SELF);
    ((lock_slow)dlsym(RTLD_NEXT, LOCK))(thread, mutex);
    __tsan_acquire(mutex);
}

METHOD bool rf_try_lock_slow(SELF mutex) {
    typedef METHOD bool (*try_lock_slow)(SELF);
    bool isLocked = ((try_lock_slow)dlsym(RTLD_NEXT, TRY_LOCK))(mutex);
    if (isLocked) __tsan_acquire(mutex);
    return isLocked;
}

METHOD void rf_unlock_slow(SELF mutex) {
    typedef METHOD void (*unlock_slow)(SELF);
    __tsan_release(mutex);
    ((unlock_slow)dlsym(RTLD_NEXT, UNLOCK))(mutex);
}

// A buffer of NIO goes back to its pool when the last reference is released. That is a decrement in
// the runtime, which is not instrumented either; the next use of the buffer then looks like a race.
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) { return "race:NIOCore10ByteBufferV8_Storage\n"; }

#endif
#endif
