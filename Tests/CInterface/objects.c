/* Making, getting and deleting objects, and looking at them. */
#include "check.h"

static void put_and_get(rf_fabric *fabric) {
    rf_object_id id, same;
    rf_object *object = NULL;
    rf_view view;
    char text[RF_OBJECT_ID_TEXT_BYTES];
    int32_t found = -1;
    EXPECT(RF_OK, rf_put(fabric, "halo", 4, "meta", 4, &id));
    rf_view_init(&view);
    EXPECT(RF_OK, rf_get(fabric, &id, SECOND, &object, &view));
    CHECK(view.size == 4 && memcmp(view.data, "halo", 4) == 0);
    CHECK(view.metadata_size == 4 && memcmp(view.metadata, "meta", 4) == 0);
    CHECK((uintptr_t)view.data % 64 == 0);
    EXPECT(RF_OK, rf_contains(fabric, &id, &found));
    CHECK(found == 1);
    EXPECT(RF_OK, rf_object_id_format(&id, text, sizeof text));
    CHECK(strlen(text) + 1 == RF_OBJECT_ID_TEXT_BYTES && text[0] == 'o');
    EXPECT(RF_OK, rf_object_id_parse(text, &same));
    CHECK(memcmp(&id, &same, sizeof id) == 0);
    EXPECT(RF_BUFFER_TOO_SMALL, rf_object_id_format(&id, text, sizeof text - 1));
    EXPECT(RF_INVALID_ARGUMENT, rf_object_id_parse("o-1", &same));
    /* Deleted, and still readable for those who hold it. */
    EXPECT(RF_OK, rf_delete(fabric, &id, 1));
    EXPECT(RF_OK, rf_contains(fabric, &id, &found));
    CHECK(found == 0);
    CHECK(memcmp(view.data, "halo", 4) == 0);
    EXPECT(RF_OBJECT_DELETED, rf_get(fabric, &id, SECOND, &object, NULL));
    EXPECT(RF_OK, rf_object_release(object));
    /* An object of a node that nobody knows. */
    id.bytes[0] ^= 1;
    EXPECT(RF_OBJECT_NOT_FOUND, rf_delete(fabric, &id, 1));
}

static void create_and_seal(rf_fabric *fabric) {
    rf_draft *draft = NULL;
    rf_object *object = NULL;
    rf_object_id id;
    rf_view view;
    void *data = NULL;
    EXPECT(RF_OK, rf_draft_create(fabric, 1000, "m", 1, &draft, &data));
    CHECK((uintptr_t)data % 64 == 0);
    memset(data, 7, 1000);
    EXPECT(RF_OK, rf_draft_seal(draft, &id));
    rf_view_init(&view);
    EXPECT(RF_OK, rf_get(fabric, &id, SECOND, &object, NULL));
    EXPECT(RF_OK, rf_object_view(object, &view));
    CHECK(view.size == 1000 && ((const unsigned char *)view.data)[999] == 7);
    CHECK(view.metadata_size == 1 && *(const char *)view.metadata == 'm');
    EXPECT(RF_OK, rf_object_release(object));
    EXPECT(RF_OK, rf_draft_create(fabric, 10, NULL, 0, &draft, &data));
    EXPECT(RF_OK, rf_draft_abort(draft));
    /* Without a place for the identifier: the draft is gone all the same. */
    EXPECT(RF_OK, rf_draft_create(fabric, 10, NULL, 0, &draft, &data));
    EXPECT(RF_INVALID_ARGUMENT, rf_draft_seal(draft, NULL));
    EXPECT(RF_HANDLE_INVALID, rf_draft_abort(draft));
}

static void empty_ones(rf_fabric *fabric) {
    rf_object_id id;
    rf_object *object = NULL;
    rf_view view;
    rf_view_init(&view);
    EXPECT(RF_OK, rf_put(fabric, NULL, 0, NULL, 0, &id));
    EXPECT(RF_OK, rf_get(fabric, &id, SECOND, &object, &view));
    CHECK(view.size == 0 && view.data != NULL && view.metadata_size == 0 && view.metadata != NULL);
    EXPECT(RF_OK, rf_object_release(object));
}

static void several(rf_fabric *fabric) {
    rf_object_id ids[3];
    rf_object *objects[3];
    size_t index, held = 0;
    int32_t found = -1;
    ids[0] = put_text(fabric, "zero");
    ids[1] = put_text(fabric, "one");
    ids[2] = missing_id(ids[0], 1);
    EXPECT(RF_OK, rf_get_many(fabric, ids, 3, 2, SECOND, objects));
    CHECK(objects[2] == NULL);
    for (index = 0; index < 3; index++) {
        if (!objects[index]) continue;
        held++;
        EXPECT(RF_OK, rf_object_release(objects[index]));
    }
    CHECK(held == 2);
    EXPECT(RF_DEADLINE_EXCEEDED, rf_get_many(fabric, ids, 3, 3, SECOND / 100, objects));
    CHECK(objects[0] == NULL && objects[1] == NULL && objects[2] == NULL);
    EXPECT(RF_INVALID_ARGUMENT, rf_get_many(fabric, ids, 3, 4, 0, objects));
    EXPECT(RF_OK, rf_get_many(fabric, NULL, 0, 0, 0, NULL));
    EXPECT(RF_DEADLINE_EXCEEDED, rf_get(fabric, &ids[2], 0, objects, NULL));
    ids[2].bytes[0] ^= 1;
    EXPECT(RF_OBJECT_NOT_FOUND, rf_delete(fabric, ids, 3));
    EXPECT(RF_OK, rf_contains(fabric, &ids[0], &found));
    CHECK(found == 0);
    EXPECT(RF_OK, rf_delete(fabric, NULL, 0));
}

static int32_t count_object(void *context, const rf_object_info *info) {
    int *count = (int *)context;
    CHECK(info->struct_size == sizeof *info && info->size == 5 && info->is_secondary == 0 && info->age_ns >= 0);
    if (info->holder_count == 1 && info->holders[0].count == 1) *count += 100;
    return ++*count % 100 == 2;
}

static void inspection(rf_fabric *fabric) {
    rf_usage usage;
    rf_transfers transfers;
    rf_object_id first, second, third;
    rf_object *object = NULL;
    char text[4096];
    size_t length = 0, needed = 0;
    int count = 0;
    rf_usage_init(&usage);
    EXPECT(RF_OK, rf_fabric_usage(fabric, &usage));
    CHECK(usage.capacity >= 8 << 20 && usage.objects == 0 && usage.struct_size == sizeof usage);
    first = put_text(fabric, "first");
    second = put_text(fabric, "other");
    third = put_text(fabric, "third");
    EXPECT(RF_OK, rf_get(fabric, &first, SECOND, &object, NULL));
    EXPECT(RF_OK, rf_fabric_inspect(fabric, count_object, &count));
    CHECK(count % 100 == 2);
    count = -1000;
    EXPECT(RF_OK, rf_fabric_inspect(fabric, count_object, &count));
    CHECK(count == -1000 + 100 + 3 || count == -1000 + 100 + 2);
    EXPECT(RF_OK, rf_object_release(object));
    EXPECT(RF_OK, rf_fabric_usage(fabric, &usage));
    CHECK(usage.objects == 3 && usage.primary_bytes == 3 * 64);
    EXPECT(RF_OK, rf_delete(fabric, &second, 1));
    EXPECT(RF_OK, rf_delete(fabric, &third, 1));
    rf_transfers_init(&transfers);
    EXPECT(RF_UNSUPPORTED, rf_fabric_transfers(fabric, &transfers));
    EXPECT(RF_UNSUPPORTED, rf_fabric_address(fabric, text, sizeof text, NULL));
    EXPECT(RF_UNSUPPORTED, rf_fabric_connect(fabric, "127.0.0.1:1", SECOND, NULL));
    EXPECT(RF_OK, rf_fabric_explain(fabric, text, sizeof text, &length));
    CHECK(strlen(text) == length && strstr(text, "network: none") != NULL);
    EXPECT(RF_BUFFER_TOO_SMALL, rf_fabric_explain(fabric, text, 10, &needed));
    CHECK(needed == length);
    EXPECT(RF_OK, rf_fabric_explain(NULL, text, sizeof text, NULL));
    CHECK(strstr(text, "transport uring") != NULL && strstr(text, "worker") == NULL);
}

void test_objects(void) {
    rf_fabric *fabric = open_fabric(8 << 20, NULL);
    inspection(fabric);
    put_and_get(fabric);
    create_and_seal(fabric);
    empty_ones(fabric);
    several(fabric);
    EXPECT(RF_OK, rf_fabric_close(fabric));
}
