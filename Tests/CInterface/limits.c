/* What happens at the limits of the store and of the process. */
#include "check.h"

#include <sys/resource.h>

static void full_store(void) {
    rf_fabric *fabric = open_fabric(4 << 20, NULL);
    rf_object_id first, second;
    rf_draft *draft = NULL;
    void *data = NULL;
    EXPECT(RF_OK, rf_draft_create(fabric, 3 << 20, NULL, 0, &draft, &data));
    EXPECT(RF_OK, rf_draft_seal(draft, &first));
    EXPECT(RF_STORE_FULL, rf_draft_create(fabric, 3 << 20, NULL, 0, &draft, &data));
    EXPECT(RF_OK, rf_delete(fabric, &first, 1));
    EXPECT(RF_OK, rf_draft_create(fabric, 3 << 20, NULL, 0, &draft, &data));
    EXPECT(RF_OK, rf_draft_seal(draft, &second));
    CHECK(memcmp(&first, &second, sizeof first) != 0);
    EXPECT(RF_OK, rf_fabric_close(fabric));
}

static void full_directory(void) {
    rf_fabric_options options;
    rf_fabric *fabric = NULL;
    rf_object_id id;
    rf_status status = RF_OK;
    int count;
    rf_fabric_options_init(&options);
    options.capacity = 4 << 20;
    options.maximum_objects = 16;
    EXPECT(RF_OK, rf_fabric_open(&options, &fabric));
    for (count = 0; count < 10000 && status == RF_OK; count++) status = rf_put(fabric, "x", 1, NULL, 0, &id);
    EXPECT(RF_TOO_MANY_OBJECTS, status);
    EXPECT(RF_OK, rf_fabric_close(fabric));
}

static void many_waits(void) {
    enum { count = 100000 };
    rf_fabric *fabric = open_fabric(4 << 20, NULL);
    rf_object_id *ids = (rf_object_id *)calloc(count, sizeof *ids);
    rf_object **objects = (rf_object **)calloc(count, sizeof *objects);
    rf_object_id id = put_text(fabric, "x");
    int index;
    for (index = 0; index < count; index++) {
        ids[index] = missing_id(id, (uint8_t)index);
        ids[index].bytes[RF_OBJECT_ID_BYTES - 2] = (uint8_t)(index >> 8);
        ids[index].bytes[RF_OBJECT_ID_BYTES - 3] = (uint8_t)(index >> 16);
    }
    EXPECT(RF_TOO_MANY_WAITS, rf_get_many(fabric, ids, count, count, SECOND / 10, objects));
    free(ids);
    free(objects);
    EXPECT(RF_OK, rf_fabric_close(fabric));
}

static void few_descriptors(void) {
    struct rlimit before, low;
    rf_fabric_options options;
    rf_fabric *fabric = NULL;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    low = before;
    low.rlim_cur = 5;
    rf_fabric_options_init(&options);
    options.capacity = 4 << 20;
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    EXPECT(RF_DESCRIPTOR_LIMIT, rf_fabric_open(&options, &fabric));
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

void test_limits(void) {
    full_store();
    full_directory();
    many_waits();
    few_descriptors();
}
