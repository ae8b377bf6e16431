/* Two nodes in this process: connecting, pulling, and peers that are none. */
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const key = "0123456789abcdef";

static void pulling(void) {
    rf_fabric *here = open_node("127.0.0.1:0", key), *there = open_node(NULL, key);
    char address[64];
    rf_object_id id, lost;
    rf_node_id node, none;
    rf_object *object = NULL;
    rf_view view;
    rf_transfers transfers;
    rf_draft *draft = NULL;
    void *data = NULL;
    size_t length = 0;
    EXPECT(RF_OK, rf_fabric_address(here, address, sizeof address, &length));
    CHECK(length == strlen(address));
    memset(&node, 0, sizeof node);
    memset(&none, 0, sizeof none);
    EXPECT(RF_OK, rf_draft_create(here, 1 << 20, "far", 3, &draft, &data));
    memset(data, 5, 1 << 20);
    EXPECT(RF_OK, rf_draft_seal(draft, &id));
    /* Its node is not connected yet. */
    EXPECT(RF_SOURCE_UNAVAILABLE, rf_get(there, &id, 10 * SECOND, &object, NULL));
    EXPECT(RF_OK, rf_fabric_connect(there, address, 10 * SECOND, &node));
    CHECK(memcmp(&node, &none, sizeof node) != 0 && memcmp(&node, id.bytes, 8) == 0);
    rf_view_init(&view);
    EXPECT(RF_OK, rf_get(there, &id, 20 * SECOND, &object, &view));
    CHECK(view.size == 1 << 20 && ((const char *)view.data)[(1 << 20) - 1] == 5);
    CHECK(view.metadata_size == 3 && memcmp(view.metadata, "far", 3) == 0);
    rf_transfers_init(&transfers);
    EXPECT(RF_OK, rf_fabric_transfers(there, &transfers));
    CHECK(transfers.peers == 1 && transfers.objects_pulled == 1 && transfers.bytes_pulled >= 1 << 20);
    lost = missing_id(id, 9);
    EXPECT(RF_OBJECT_NOT_FOUND, rf_fabric_connect(there, address, 10 * SECOND, NULL) == RF_OK
                                    ? rf_get(there, &lost, 2 * SECOND, &object, NULL)
                                    : RF_SYSTEM);
    EXPECT(RF_OK, rf_fabric_close(there));
    EXPECT(RF_OK, rf_fabric_close(here));
}

static void strangers(void) {
    rf_fabric *here = open_node("127.0.0.1:0", key), *other = open_node(NULL, "another key of 16");
    rf_fabric_options options;
    rf_fabric *fabric = NULL;
    char address[64];
    EXPECT(RF_OK, rf_fabric_address(here, address, sizeof address, NULL));
    EXPECT(RF_AUTHENTICATION_FAILED, rf_fabric_connect(other, address, 10 * SECOND, NULL));
    EXPECT(RF_ADDRESS_INVALID, rf_fabric_connect(other, "nowhere", 10 * SECOND, NULL));
    EXPECT(RF_CONNECTION_REFUSED, rf_fabric_connect(other, "127.0.0.1:1", 10 * SECOND, NULL));
    EXPECT(RF_HOST_NOT_FOUND,
           rf_fabric_connect(other,
                             "a-label-of-more-than-sixty-three-characters-is-refused-by-every-resolver.invalid:1",
                             10 * SECOND, NULL));
    rf_fabric_options_init(&options);
    options.capacity = 4 << 20;
    options.listen = address;
    options.key = key;
    options.key_size = strlen(key);
    options.transport = RF_TRANSPORT_URING_OR_NIO;
    EXPECT(RF_ADDRESS_IN_USE, rf_fabric_open(&options, &fabric));
    EXPECT(RF_OK, rf_fabric_close(other));
    EXPECT(RF_OK, rf_fabric_close(here));
}

static void *answer_as_web_server(void *argument) {
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    char request[512];
    int connection = accept(*(int *)argument, NULL, NULL);
    if (connection < 0) return NULL;
    if (write(connection, text, sizeof text - 1) > 0)
        while (read(connection, request, sizeof request) > 0) continue;
    close(connection);
    return NULL;
}

static void web_server(void) {
    rf_fabric *fabric = open_node(NULL, key);
    struct sockaddr_in place;
    socklen_t size = sizeof place;
    pthread_t thread;
    char address[64];
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    memset(&place, 0, sizeof place);
    place.sin_family = AF_INET;
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(listener, (struct sockaddr *)&place, sizeof place) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&place, &size) == 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(place.sin_port));
    CHECK(pthread_create(&thread, NULL, answer_as_web_server, &listener) == 0);
    EXPECT(RF_NOT_OUR_PROTOCOL, rf_fabric_connect(fabric, address, 10 * SECOND, NULL));
    EXPECT(RF_OK, rf_fabric_close(fabric));
    CHECK(pthread_join(thread, NULL) == 0);
    close(listener);
}

void test_nodes(void) {
    pulling();
    strangers();
    web_server();
}
