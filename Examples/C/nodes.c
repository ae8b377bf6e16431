/* Two nodes: one makes an object and serves it, the other pulls it.
 *
 *     RAYFABRIC_KEY=... RAYFABRIC_LISTEN=0.0.0.0:7400 ./nodes serve 1048576     prints the object's identifier
 *     RAYFABRIC_KEY=... ./nodes pull HOST:7400 OBJECT
 *
 * The server ends when its standard input does. Without RAYFABRIC_KEY, only loopback addresses are possible.
 */
#include <rayfabric.h>
#include <stdio.h>
#include <stdlib.h>

static const int64_t limit = INT64_C(30000000000);

static void require(rf_status status, const char *what) {
    if (status == RF_OK) return;
    fprintf(stderr, "%s: %s\n", what, rf_last_error());
    exit(1);
}

static rf_fabric *open_fabric(void) {
    rf_fabric_options options;
    rf_fabric *fabric;
    rf_fabric_options_init(&options);
    options.flags = RF_OPEN_ENVIRONMENT | RF_OPEN_NETWORK;
    options.capacity = 512 << 20;
    require(rf_fabric_open(&options, &fabric), "open");
    return fabric;
}

static void serve(size_t size) {
    rf_fabric *fabric = open_fabric();
    rf_draft *draft;
    rf_object_id id;
    char address[300], text[RF_OBJECT_ID_TEXT_BYTES];
    void *data;
    size_t index;
    require(rf_draft_create(fabric, size, NULL, 0, &draft, &data), "create");
    for (index = 0; index < size; index++) ((unsigned char *)data)[index] = (unsigned char)(index * 7);
    require(rf_draft_seal(draft, &id), "seal");
    require(rf_fabric_address(fabric, address, sizeof address, NULL), "address");
    require(rf_object_id_format(&id, text, sizeof text), "format");
    printf("%s %s\n", address, text);
    fflush(stdout);
    while (getchar() != EOF) continue;
    require(rf_fabric_close(fabric), "close");
}

static void pull(const char *address, const char *text) {
    rf_fabric *fabric = open_fabric();
    rf_object_id id;
    rf_object *object;
    rf_view view;
    size_t index, wrong = 0;
    require(rf_object_id_parse(text, &id), "parse");
    require(rf_fabric_connect(fabric, address, limit, NULL), "connect");
    rf_view_init(&view);
    require(rf_get(fabric, &id, limit, &object, &view), "get");
    for (index = 0; index < view.size; index++)
        if (((const unsigned char *)view.data)[index] != (unsigned char)(index * 7)) wrong++;
    printf("pulled %zu bytes, %zu wrong\n", view.size, wrong);
    require(rf_object_release(object), "release");
    require(rf_fabric_close(fabric), "close");
}

int main(int count, char **arguments) {
    require(rf_check_version(), "version");
    if (count == 3 && arguments[1][0] == 's') {
        serve((size_t)atol(arguments[2]));
    } else if (count == 4 && arguments[1][0] == 'p') {
        pull(arguments[2], arguments[3]);
    } else {
        fprintf(stderr, "usage: nodes serve BYTES | nodes pull HOST:PORT OBJECT\n");
        return 2;
    }
    return 0;
}
