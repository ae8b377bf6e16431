/* Gets that end in a queue. */
#include "check.h"

#include <poll.h>
#include <pthread.h>

static int is_readable(int descriptor, int milliseconds) {
    struct pollfd item;
    item.fd = descriptor;
    item.events = POLLIN;
    item.revents = 0;
    return poll(&item, 1, milliseconds) == 1;
}

static void present_and_coming(rf_fabric *fabric, rf_queue *queue) {
    rf_object_id here = put_text(fabric, "here"), missing = missing_id(here, 1);
    rf_completion completions[4];
    rf_view view;
    size_t count = 0;
    int32_t descriptor = -1;
    rf_view_init(&view);
    EXPECT(RF_OK, rf_queue_descriptor(queue, &descriptor));
    CHECK(!is_readable(descriptor, 0));
    EXPECT(RF_DEADLINE_EXCEEDED, rf_queue_take(queue, completions, 4, SECOND / 100, &count));
    EXPECT(RF_OK, rf_get_async(queue, &here, SECOND, 7));
    CHECK(is_readable(descriptor, 5000));
    EXPECT(RF_OK, rf_queue_take(queue, completions, 4, SECOND, &count));
    CHECK(count == 1 && completions[0].tag == 7 && completions[0].reserved == 0);
    EXPECT(RF_OK, completions[0].status);
    EXPECT(RF_OK, rf_object_view(completions[0].object, &view));
    CHECK(view.size == 4 && memcmp(view.data, "here", 4) == 0);
    EXPECT(RF_OK, rf_object_release(completions[0].object));
    CHECK(!is_readable(descriptor, 0));
    /* One that never comes ends by its limit. */
    EXPECT(RF_OK, rf_get_async(queue, &missing, SECOND / 50, 8));
    EXPECT(RF_OK, rf_queue_take(queue, completions, 4, 20 * SECOND, &count));
    CHECK(count == 1 && completions[0].tag == 8 && completions[0].object == NULL);
    EXPECT(RF_DEADLINE_EXCEEDED, completions[0].status);
    /* One at a time: the descriptor stays readable until all are taken. */
    EXPECT(RF_OK, rf_get_async(queue, &here, SECOND, 1));
    EXPECT(RF_OK, rf_get_async(queue, &here, SECOND, 2));
    EXPECT(RF_BUSY, rf_get_async(queue, &here, SECOND, 3));
    EXPECT(RF_OK, rf_queue_take(queue, completions, 1, SECOND, &count));
    CHECK(count == 1 && is_readable(descriptor, 0));
    EXPECT(RF_OK, rf_object_release(completions[0].object));
    /* What is not taken is released with the queue. */
}

static void after_the_fabric(void) {
    rf_fabric *fabric = open_fabric(4 << 20, NULL);
    rf_object_id missing = missing_id(put_text(fabric, "x"), 1);
    rf_queue *queue = NULL;
    rf_completion completion;
    size_t count = 0;
    EXPECT(RF_OK, rf_queue_create(fabric, 4, &queue));
    EXPECT(RF_OK, rf_get_async(queue, &missing, 100 * SECOND, 5));
    EXPECT(RF_OK, rf_fabric_close(fabric));
    EXPECT(RF_OK, rf_queue_take(queue, &completion, 1, 20 * SECOND, &count));
    CHECK(count == 1 && completion.tag == 5 && completion.object == NULL);
    EXPECT(RF_CLOSED, completion.status);
    EXPECT(RF_OK, rf_queue_close(queue));
}

static void *take_for_long(void *argument) {
    rf_completion completion;
    size_t count;
    rf_status status = rf_queue_take((rf_queue *)argument, &completion, 1, 600 * SECOND, &count);
    /* Closed while it waited, or before it began. */
    return (void *)(intptr_t)(status == RF_CLOSED || status == RF_HANDLE_INVALID);
}

static void closed_while_waiting(void) {
    rf_fabric *fabric = open_fabric(4 << 20, NULL);
    rf_object_id missing = missing_id(put_text(fabric, "x"), 1);
    rf_queue *queue = NULL;
    pthread_t threads[3];
    void *is_right = NULL;
    int index;
    EXPECT(RF_OK, rf_queue_create(fabric, 4, &queue));
    EXPECT(RF_OK, rf_get_async(queue, &missing, 100 * SECOND, 5));
    for (index = 0; index < 3; index++) CHECK(pthread_create(&threads[index], NULL, take_for_long, queue) == 0);
    EXPECT(RF_OK, rf_queue_close(queue));
    for (index = 0; index < 3; index++) {
        CHECK(pthread_join(threads[index], &is_right) == 0);
        CHECK(is_right != NULL);
    }
    EXPECT(RF_OK, rf_fabric_close(fabric));
}

void test_queue(void) {
    rf_fabric *fabric = open_fabric(4 << 20, NULL);
    rf_queue *queue = NULL;
    rf_usage usage;
    EXPECT(RF_OK, rf_queue_create(fabric, 2, &queue));
    present_and_coming(fabric, queue);
    EXPECT(RF_OK, rf_queue_close(queue));
    rf_usage_init(&usage);
    EXPECT(RF_OK, rf_fabric_usage(fabric, &usage));
    EXPECT(RF_OK, rf_fabric_close(fabric));
    after_the_fabric();
    closed_while_waiting();
}
