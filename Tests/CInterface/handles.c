/* Handles that are not, or not any more, what a call needs; and NULL wherever it can be. */
#include "check.h"

static void ended_handles(void) {
    rf_fabric *fabric = open_fabric(4 << 20, NULL), *other;
    rf_object_id id = put_text(fabric, "kept");
    rf_object *object = NULL, *again = NULL;
    rf_draft *draft = NULL;
    rf_queue *queue = NULL;
    rf_usage usage;
    rf_view view;
    void *data = NULL;
    int32_t found, descriptor;
    rf_view_init(&view);
    rf_usage_init(&usage);
    EXPECT(RF_OK, rf_get(fabric, &id, SECOND, &object, &view));
    EXPECT(RF_OK, rf_object_release(object));
    EXPECT(RF_HANDLE_INVALID, rf_object_release(object));
    EXPECT(RF_HANDLE_INVALID, rf_object_view(object, &view));
    /* The place is used again: the old handle does not become the new one. */
    EXPECT(RF_OK, rf_get(fabric, &id, SECOND, &again, &view));
    CHECK(again != object);
    EXPECT(RF_HANDLE_INVALID, rf_object_release(object));
    EXPECT(RF_OK, rf_draft_create(fabric, 8, NULL, 0, &draft, &data));
    EXPECT(RF_OK, rf_queue_create(fabric, 4, &queue));
    /* Handles of another kind. */
    EXPECT(RF_HANDLE_INVALID, rf_object_release((rf_object *)(void *)draft));
    EXPECT(RF_HANDLE_INVALID, rf_draft_abort((rf_draft *)(void *)again));
    EXPECT(RF_HANDLE_INVALID, rf_fabric_usage((rf_fabric *)(void *)queue, &usage));
    EXPECT(RF_HANDLE_INVALID, rf_queue_descriptor((rf_queue *)(void *)fabric, &descriptor));
    EXPECT(RF_HANDLE_INVALID, rf_object_release((rf_object *)(void *)&view));
    /* Objects of another fabric are not here, whoever holds them. */
    other = open_fabric(4 << 20, NULL);
    EXPECT(RF_OK, rf_contains(other, &id, &found));
    CHECK(found == 0);
    EXPECT(RF_OBJECT_NOT_FOUND, rf_delete(other, &id, 1));
    EXPECT(RF_OK, rf_fabric_close(other));
    /* What is held outlives the fabric; all else ends with it. */
    EXPECT(RF_OK, rf_fabric_close(fabric));
    EXPECT(RF_HANDLE_INVALID, rf_fabric_close(fabric));
    EXPECT(RF_HANDLE_INVALID, rf_get(fabric, &id, SECOND, &object, NULL));
    EXPECT(RF_OK, rf_object_view(again, &view));
    CHECK(memcmp(view.data, "kept", 4) == 0);
    EXPECT(RF_OK, rf_object_release(again));
    memset(data, 1, 8);
    EXPECT(RF_CLOSED, rf_draft_seal(draft, &id));
    EXPECT(RF_HANDLE_INVALID, rf_draft_seal(draft, &id));
    EXPECT(RF_OK, rf_queue_close(queue));
    EXPECT(RF_HANDLE_INVALID, rf_queue_close(queue));
    EXPECT(RF_HANDLE_INVALID, rf_get_async(queue, &id, 0, 0));
}

static void null_handles(void) {
    rf_object_id id;
    rf_object *object;
    rf_draft *draft;
    rf_queue *queue;
    rf_usage usage;
    rf_transfers transfers;
    rf_view view;
    rf_completion completion;
    void *data;
    size_t count;
    int32_t number;
    char text[64];
    memset(&id, 0, sizeof id);
    rf_usage_init(&usage);
    rf_transfers_init(&transfers);
    rf_view_init(&view);
    EXPECT(RF_HANDLE_INVALID, rf_fabric_close(NULL));
    EXPECT(RF_HANDLE_INVALID, rf_fabric_connect(NULL, "127.0.0.1:1", 0, NULL));
    EXPECT(RF_HANDLE_INVALID, rf_fabric_address(NULL, text, sizeof text, NULL));
    EXPECT(RF_HANDLE_INVALID, rf_fabric_usage(NULL, &usage));
    EXPECT(RF_HANDLE_INVALID, rf_fabric_transfers(NULL, &transfers));
    EXPECT(RF_HANDLE_INVALID, rf_put(NULL, "", 0, NULL, 0, &id));
    EXPECT(RF_HANDLE_INVALID, rf_draft_create(NULL, 1, NULL, 0, &draft, &data));
    EXPECT(RF_HANDLE_INVALID, rf_draft_seal(NULL, &id));
    EXPECT(RF_HANDLE_INVALID, rf_draft_abort(NULL));
    EXPECT(RF_HANDLE_INVALID, rf_get(NULL, &id, 0, &object, &view));
    EXPECT(RF_HANDLE_INVALID, rf_get_many(NULL, &id, 1, 1, 0, &object));
    EXPECT(RF_HANDLE_INVALID, rf_object_view(NULL, &view));
    EXPECT(RF_HANDLE_INVALID, rf_object_release(NULL));
    EXPECT(RF_HANDLE_INVALID, rf_contains(NULL, &id, &number));
    EXPECT(RF_HANDLE_INVALID, rf_delete(NULL, &id, 1));
    EXPECT(RF_HANDLE_INVALID, rf_queue_create(NULL, 1, &queue));
    EXPECT(RF_HANDLE_INVALID, rf_queue_descriptor(NULL, &number));
    EXPECT(RF_HANDLE_INVALID, rf_get_async(NULL, &id, 0, 0));
    EXPECT(RF_HANDLE_INVALID, rf_queue_take(NULL, &completion, 1, 0, &count));
    EXPECT(RF_HANDLE_INVALID, rf_queue_close(NULL));
}

static void null_pointers(void) {
    static const char large[65537] = {0};
    rf_fabric *fabric = open_fabric(4 << 20, NULL);
    rf_object_id id = put_text(fabric, "x");
    rf_object *object = NULL;
    rf_draft *draft = NULL;
    rf_queue *queue = NULL;
    rf_completion completion;
    void *data = NULL;
    size_t count;
    EXPECT(RF_INVALID_ARGUMENT, rf_fabric_open(NULL, &fabric));
    EXPECT(RF_INVALID_ARGUMENT, rf_fabric_attach(NULL, NULL, &fabric));
    EXPECT(RF_INVALID_ARGUMENT, rf_fabric_attach("/tmp/x", NULL, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_fabric_connect(fabric, NULL, 0, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_fabric_usage(fabric, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_fabric_transfers(fabric, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_fabric_inspect(fabric, NULL, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_fabric_explain(fabric, NULL, 1 << 20, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_put(fabric, NULL, 1, NULL, 0, &id));
    EXPECT(RF_INVALID_ARGUMENT, rf_put(fabric, "x", 1, NULL, 1, &id));
    EXPECT(RF_INVALID_ARGUMENT, rf_put(fabric, "x", 1, NULL, 0, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_draft_create(fabric, 1, NULL, 0, NULL, &data));
    EXPECT(RF_INVALID_ARGUMENT, rf_draft_create(fabric, 1, NULL, 0, &draft, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_get(fabric, NULL, 0, &object, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_get(fabric, &id, 0, NULL, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_get(fabric, &id, -1, &object, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_get_many(fabric, NULL, 1, 1, 0, &object));
    EXPECT(RF_INVALID_ARGUMENT, rf_get_many(fabric, &id, 1, 1, 0, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_contains(fabric, NULL, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_contains(fabric, &id, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_delete(fabric, NULL, 1));
    EXPECT(RF_INVALID_ARGUMENT, rf_object_id_format(NULL, NULL, 0));
    EXPECT(RF_INVALID_ARGUMENT, rf_object_id_format(&id, NULL, 1000));
    EXPECT(RF_INVALID_ARGUMENT, rf_object_id_parse(NULL, &id));
    EXPECT(RF_INVALID_ARGUMENT, rf_object_id_parse("o-1", NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_queue_create(fabric, 1, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_queue_create(fabric, 0, &queue));
    EXPECT(RF_INVALID_ARGUMENT, rf_queue_create(fabric, SIZE_MAX, &queue));
    EXPECT(RF_OK, rf_queue_create(fabric, 1, &queue));
    EXPECT(RF_INVALID_ARGUMENT, rf_queue_descriptor(queue, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_get_async(queue, NULL, 0, 0));
    EXPECT(RF_INVALID_ARGUMENT, rf_get_async(queue, &id, -1, 0));
    EXPECT(RF_INVALID_ARGUMENT, rf_queue_take(queue, NULL, 1, 0, &count));
    EXPECT(RF_INVALID_ARGUMENT, rf_queue_take(queue, &completion, 1, 0, NULL));
    EXPECT(RF_INVALID_ARGUMENT, rf_queue_take(queue, &completion, 0, 0, &count));
    EXPECT(RF_INVALID_ARGUMENT, rf_object_view((rf_object *)(void *)queue, NULL));
    /* Lengths that no memory has. */
    EXPECT(RF_OBJECT_TOO_LARGE, rf_put(fabric, "x", SIZE_MAX, NULL, 0, &id));
    EXPECT(RF_OBJECT_TOO_LARGE, rf_put(fabric, "x", 1, "x", SIZE_MAX / 2 + 1, &id));
    EXPECT(RF_OBJECT_TOO_LARGE, rf_draft_create(fabric, SIZE_MAX, NULL, 0, &draft, &data));
    EXPECT(RF_OBJECT_TOO_LARGE, rf_draft_create(fabric, 1 << 30, NULL, 0, &draft, &data));
    EXPECT(RF_INVALID_ARGUMENT, rf_put(fabric, "x", 1, large, sizeof large, &id));
    EXPECT(RF_INVALID_ARGUMENT, rf_get_many(fabric, &id, SIZE_MAX, 1, 0, &object));
    EXPECT(RF_INVALID_ARGUMENT, rf_get_many(fabric, &id, (size_t)RF_MAXIMUM_HANDLES + 1, 1, 0, &object));
    EXPECT(RF_INVALID_ARGUMENT, rf_delete(fabric, &id, SIZE_MAX / 2));
    EXPECT(RF_INVALID_ARGUMENT, rf_delete(fabric, &id, (size_t)1 << 40));
    object = (rf_object *)fabric;
    EXPECT(RF_INVALID_ARGUMENT, rf_get_many(fabric, &id, 1, 1, -1, &object));
    CHECK(object == NULL);
    EXPECT(RF_OK, rf_queue_close(queue));
    EXPECT(RF_OK, rf_fabric_close(fabric));
}

static void too_many(void) {
    rf_fabric *fabric;
    rf_object_id id;
    rf_object **objects;
    size_t index;
    if (is_slow) return;
    fabric = open_fabric(4 << 20, NULL);
    id = put_text(fabric, "x");
    objects = (rf_object **)calloc(RF_MAXIMUM_HANDLES + 1, sizeof *objects);
    for (index = 0; index < RF_MAXIMUM_HANDLES; index++)
        if (rf_get(fabric, &id, SECOND, &objects[index], NULL) != RF_OK) break;
    CHECK(index == RF_MAXIMUM_HANDLES);
    EXPECT(RF_TOO_MANY_HANDLES, rf_get(fabric, &id, SECOND, &objects[RF_MAXIMUM_HANDLES], NULL));
    while (index > 0)
        if (rf_object_release(objects[--index]) != RF_OK) break;
    CHECK(index == 0);
    free(objects);
    EXPECT(RF_OK, rf_fabric_close(fabric));
}

void test_handles(void) {
    ended_handles();
    null_handles();
    null_pointers();
    too_many();
}
