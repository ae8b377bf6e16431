/* Several threads with the same handles, and a fabric that is closed while they use it. */
#include "check.h"

#include <pthread.h>

enum { thread_count = 4 };

static struct {
    rf_fabric *fabric;
    rf_object_id id;
    rf_object *object;
    long rounds;
} shared;

/* Gets and releases until the fabric is closed; whether each status was one that may be. */
static void *get_until_closed(void *argument) {
    long *rounds = (long *)argument;
    for (;;) {
        rf_object *object = NULL;
        rf_view view;
        rf_status status;
        rf_view_init(&view);
        status = rf_get(shared.fabric, &shared.id, SECOND, &object, &view);
        if (status == RF_CLOSED || status == RF_HANDLE_INVALID) return (void *)1;
        if (status != RF_OK || view.size != 6 || memcmp(view.data, "shared", 6) != 0) return NULL;
        if (rf_object_release(object) != RF_OK) return NULL;
        __atomic_add_fetch(rounds, 1, __ATOMIC_RELAXED);
    }
}

static void *release_once(void *argument) {
    (void)argument;
    return (void *)(intptr_t)(rf_object_release(shared.object) == RF_OK);
}

static void *wait_for_missing(void *argument) {
    rf_object_id missing = missing_id(shared.id, 3);
    rf_object *object = NULL;
    rf_status status = rf_get(shared.fabric, &missing, 600 * SECOND, &object, NULL);
    (void)argument;
    return (void *)(intptr_t)(status == RF_CLOSED || status == RF_HANDLE_INVALID ? status : 0);
}

static void closed_in_use(void) {
    pthread_t threads[thread_count], waiter;
    void *result;
    int index;
    long goal = is_slow ? 100 : 20000;
    shared.fabric = open_fabric(4 << 20, NULL);
    shared.id = put_text(shared.fabric, "shared");
    shared.rounds = 0;
    CHECK(pthread_create(&waiter, NULL, wait_for_missing, NULL) == 0);
    for (index = 0; index < thread_count; index++)
        CHECK(pthread_create(&threads[index], NULL, get_until_closed, &shared.rounds) == 0);
    while (__atomic_load_n(&shared.rounds, __ATOMIC_RELAXED) < goal) sched_yield();
    EXPECT(RF_OK, rf_fabric_close(shared.fabric));
    for (index = 0; index < thread_count; index++) {
        CHECK(pthread_join(threads[index], &result) == 0);
        CHECK(result != NULL);
    }
    CHECK(pthread_join(waiter, &result) == 0);
    EXPECT(RF_CLOSED, (rf_status)(intptr_t)result == RF_HANDLE_INVALID ? RF_CLOSED : (rf_status)(intptr_t)result);
}

/* Of many that release one handle at the same time, one succeeds. */
static void released_at_once(void) {
    int round, index, rounds = is_slow ? 10 : 300;
    shared.fabric = open_fabric(4 << 20, NULL);
    shared.id = put_text(shared.fabric, "shared");
    for (round = 0; round < rounds; round++) {
        pthread_t threads[thread_count];
        void *result;
        int succeeded = 0;
        EXPECT(RF_OK, rf_get(shared.fabric, &shared.id, SECOND, &shared.object, NULL));
        for (index = 0; index < thread_count; index++)
            CHECK(pthread_create(&threads[index], NULL, release_once, NULL) == 0);
        for (index = 0; index < thread_count; index++) {
            CHECK(pthread_join(threads[index], &result) == 0);
            succeeded += result != NULL;
        }
        CHECK(succeeded == 1);
    }
    EXPECT(RF_OK, rf_fabric_close(shared.fabric));
}

void test_threads(void) {
    closed_in_use();
    released_at_once();
}
