/* Structures of other sizes than this library's: of programs that are older or newer. */
#include "check.h"

/* What a program of the future may pass: a structure with one member more. */
typedef struct {
    rf_fabric_options known;
    uint64_t unknown;
} future_options;

typedef struct {
    rf_view known;
    uint64_t unknown;
} future_view;

void test_structures(void) {
    future_options options;
    future_view view;
    rf_fabric *fabric = NULL;
    rf_object *object = NULL;
    rf_object_id id;
    rf_usage usage;
    memset(&options, 0, sizeof options);
    options.known.capacity = 4 << 20;
    EXPECT(RF_STRUCT_SIZE, rf_fabric_open(&options.known, &fabric));
    options.known.struct_size = sizeof(rf_fabric_options) - 1;
    EXPECT(RF_STRUCT_SIZE, rf_fabric_open(&options.known, &fabric));
    options.known.struct_size = SIZE_MAX;
    EXPECT(RF_STRUCT_SIZE, rf_fabric_open(&options.known, &fabric));
    options.known.struct_size = sizeof options;
    options.unknown = 1;
    EXPECT(RF_STRUCT_SIZE, rf_fabric_open(&options.known, &fabric));
    options.unknown = 0;
    EXPECT(RF_OK, rf_fabric_open(&options.known, &fabric));
    id = put_text(fabric, "view");
    memset(&view, 0, sizeof view);
    EXPECT(RF_STRUCT_SIZE, rf_get(fabric, &id, SECOND, &object, &view.known));
    view.known.struct_size = sizeof view;
    view.unknown = 42;
    EXPECT(RF_OK, rf_get(fabric, &id, SECOND, &object, &view.known));
    CHECK(view.unknown == 42 && view.known.size == 4 && view.known.struct_size == sizeof view);
    view.known.struct_size = 8;
    EXPECT(RF_STRUCT_SIZE, rf_object_view(object, &view.known));
    EXPECT(RF_OK, rf_object_release(object));
    memset(&usage, 0, sizeof usage);
    EXPECT(RF_STRUCT_SIZE, rf_fabric_usage(fabric, &usage));
    EXPECT(RF_OK, rf_fabric_close(fabric));
}
