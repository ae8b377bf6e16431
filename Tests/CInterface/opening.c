/* Opening: settings from the structure, the environment and a file, and what can be wrong with them. */
#include "check.h"

#include <sys/stat.h>
#include <unistd.h>

static rf_status open_and_close(rf_fabric_options *options) {
    rf_fabric *fabric = NULL;
    rf_status status = rf_fabric_open(options, &fabric);
    if (status == RF_OK) EXPECT(RF_OK, rf_fabric_close(fabric));
    return status;
}

static void write_file(const char *path, const char *text, mode_t mode) {
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    if (!file) return;
    fputs(text, file);
    fclose(file);
    CHECK(chmod(path, mode) == 0);
}

static void values(void) {
    rf_fabric_options options;
    rf_fabric_options_init(&options);
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    options.capacity = 1;
    options.flags = 128;
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    options.flags = 0;
    options.reserved = 1;
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    options.reserved = 0;
    options.capacity = 4 << 20;
    options.transport = 77;
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    options.transport = 0;
    options.maximum_objects = UINT64_MAX;
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    options.maximum_objects = 0;
    options.path = "/tmp/\377";
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    options.path = NULL;
    options.listen = "nowhere";
    EXPECT(RF_ADDRESS_INVALID, open_and_close(&options));
    options.listen = "0.0.0.0:0";
    EXPECT(RF_KEY_REQUIRED, open_and_close(&options));
    options.key = "too short";
    options.key_size = 9;
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    options.listen = NULL;
    options.key = NULL;
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    options.key_size = 0;
    options.capacity = UINT64_C(1) << 46;
    EXPECT(RF_OUT_OF_MEMORY, open_and_close(&options));
    options.capacity = 4 << 20;
    options.flags = RF_OPEN_NETWORK;
    options.transport = RF_TRANSPORT_VERBS;
    if (access("/sys/class/infiniband", F_OK) != 0) EXPECT(RF_RDMA_UNAVAILABLE, open_and_close(&options));
    options.transport = RF_TRANSPORT_NIO;
    EXPECT(RF_OK, open_and_close(&options));
}

static void file_and_environment(void) {
    rf_fabric_options options;
    rf_fabric *fabric = NULL;
    rf_usage usage;
    char path[256], text[64];
    temporary_path(path, sizeof path, "settings");
    rf_fabric_options_init(&options);
    options.file = "/nonexistent/file";
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    options.file = path;
    write_file(path, "capacity 4MiB\nkey 0123456789abcdef\n", 0644);
    EXPECT(RF_PERMISSION_DENIED, open_and_close(&options));
    write_file(path, "capacity 4MiB\nspeed 9\n", 0600);
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    CHECK(strstr(rf_last_error(), "line 2") != NULL);
    write_file(path, "capacity\n", 0600);
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    write_file(path, "capacity many\n", 0600);
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    write_file(path,
               "# settings\n\ncapacity\t8MiB  \nlisten 127.0.0.1:0\nkey 0123456789abcdef\n"
               "transport uring-or-nio\n",
               0600);
    EXPECT(RF_OK, rf_fabric_open(&options, &fabric));
    EXPECT(RF_OK, rf_fabric_address(fabric, text, sizeof text, NULL));
    CHECK(strncmp(text, "127.0.0.1:", 10) == 0);
    rf_usage_init(&usage);
    EXPECT(RF_OK, rf_fabric_usage(fabric, &usage));
    CHECK(usage.capacity == 8 << 20);
    EXPECT(RF_OK, rf_fabric_close(fabric));
    /* The environment comes before the file, the structure before both. */
    CHECK(setenv("RAYFABRIC_FILE", path, 1) == 0 && setenv("RAYFABRIC_CAPACITY", "16MiB", 1) == 0);
    options.file = NULL;
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    options.flags = RF_OPEN_ENVIRONMENT;
    EXPECT(RF_OK, rf_fabric_open(&options, &fabric));
    EXPECT(RF_OK, rf_fabric_usage(fabric, &usage));
    CHECK(usage.capacity == 16 << 20);
    EXPECT(RF_OK, rf_fabric_address(fabric, text, sizeof text, NULL));
    EXPECT(RF_BUFFER_TOO_SMALL, rf_fabric_address(fabric, text, 3, NULL));
    EXPECT(RF_OK, rf_fabric_close(fabric));
    CHECK(setenv("RAYFABRIC_TRANSPORT", "pigeons", 1) == 0);
    EXPECT(RF_INVALID_ARGUMENT, open_and_close(&options));
    CHECK(unsetenv("RAYFABRIC_TRANSPORT") == 0);
    options.capacity = 32 << 20;
    EXPECT(RF_OK, rf_fabric_open(&options, &fabric));
    EXPECT(RF_OK, rf_fabric_usage(fabric, &usage));
    CHECK(usage.capacity == 32 << 20);
    EXPECT(RF_OK, rf_fabric_close(fabric));
    CHECK(unsetenv("RAYFABRIC_FILE") == 0 && unsetenv("RAYFABRIC_CAPACITY") == 0);
    unlink(path);
}

static void attaching(void) {
    rf_fabric_options options;
    rf_fabric *host = NULL, *client = NULL, *other = NULL;
    rf_object_id id;
    rf_object *object = NULL;
    rf_view view;
    char path[256];
    temporary_path(path, sizeof path, "attach");
    rf_fabric_options_init(&options);
    options.capacity = 4 << 20;
    options.path = path;
    options.maximum_clients = 2;
    EXPECT(RF_CONNECTION_REFUSED, rf_fabric_attach(path, "early", &client));
    EXPECT(RF_OK, rf_fabric_open(&options, &host));
    EXPECT(RF_HOST_EXISTS, rf_fabric_open(&options, &other));
    EXPECT(RF_OK, rf_fabric_attach(path, NULL, &client));
    EXPECT(RF_TOO_MANY_CLIENTS, rf_fabric_attach(path, "third", &other));
    id = put_text(host, "shared");
    rf_view_init(&view);
    EXPECT(RF_OK, rf_get(client, &id, SECOND, &object, &view));
    CHECK(view.size == 6 && memcmp(view.data, "shared", 6) == 0);
    EXPECT(RF_OK, rf_fabric_close(host));
    CHECK(memcmp(view.data, "shared", 6) == 0);
    EXPECT(RF_HOST_LOST, rf_put(client, "x", 1, NULL, 0, &id));
    EXPECT(RF_OK, rf_object_release(object));
    EXPECT(RF_OK, rf_fabric_close(client));
}

static char logged[256];

static void note_line(void *context, const char *message) {
    ++*(int *)context;
    snprintf(logged, sizeof logged, "%s", message);
}

/* The log tells of a client that dies while it attaches wrongly; here: of one that is no client at all. */
static void logging(void) {
    rf_fabric_options options;
    rf_fabric *host = NULL;
    char path[256];
    int lines = 0;
    temporary_path(path, sizeof path, "log");
    rf_fabric_options_init(&options);
    options.capacity = 4 << 20;
    options.path = path;
    options.log = note_line;
    options.log_context = &lines;
    EXPECT(RF_OK, rf_fabric_open(&options, &host));
    CHECK(end_of(start_child("babble", path)) == 0);
    EXPECT(RF_OK, rf_fabric_close(host));
    CHECK(lines > 0 && logged[0] != 0);
}

void test_opening(void) {
    values();
    file_and_environment();
    attaching();
    logging();
}
