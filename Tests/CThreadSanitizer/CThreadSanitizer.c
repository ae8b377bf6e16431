// Shows the thread sanitizer the contended half of `Synchronization.Mutex`.
//
// The uncontended half is inlined into our code and seen. The other half lives in the standard
// library, which is not instrumented: without this file everything that such a lock guards is
// reported as a race. These definitions are found before those of the library; they call them and
// add what they mean.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>

#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

extern void __tsan_acquire(void *address);
extern void __tsan_release(void *address);

// Swift methods take `self` in the register of the Swift context.
#define METHOD __attribute__((swiftcall))
#define SELF __attribute__((swift_context)) void *

METHOD void rf_lock_slow(uint32_t thread, SELF mutex) __asm__(LOCK);
METHOD void rf_unlock_slow(SELF mutex) __asm__(UNLOCK);

METHOD void rf_lock_slow(uint32_t thread, SELF mutex) {
    typedef METHOD void (*lock_slow)(uint32_t, SELF);
    ((lock_slow)dlsym(RTLD_NEXT, LOCK))(thread, mutex);
    __tsan_acquire(mutex);
}

METHOD void rf_unlock_slow(SELF mutex) {
    typedef METHOD void (*unlock_slow)(SELF);
    __tsan_release(mutex);
    ((unlock_slow)dlsym(RTLD_NEXT, UNLOCK))(mutex);
}

#endif
#endif
