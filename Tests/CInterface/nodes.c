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

rf_status pull_with(const char *host, int32_t transport) {
    enum { size = 1 << 20 };
    static unsigned char data[size];
    char listen[64], address[64];
    rf_fabric_options options;
    rf_fabric *here = NULL, *there = NULL;
    rf_object_id id;
    rf_object *object = NULL;
    rf_view view;
    rf_status status;
    snprintf(listen, sizeof listen, "%s:0", host);
    memset(data, 0x5a, sizeof data);
    rf_view_init(&view);
    rf_fabric_options_init(&options);
    options.capacity = 16 << 20;
    options.listen = listen;
    options.key = key;
    options.key_size = strlen(key);
    options.transport = transport;
    status = rf_fabric_open(&options, &there);
    if (status == RF_OK) status = rf_fabric_open(&options, &here);
    if (status == RF_OK) status = rf_fabric_address(there, address, sizeof address, NULL);
    if (status == RF_OK) status = rf_fabric_connect(here, address, 20 * SECOND, NULL);
    if (status == RF_OK) status = rf_put(there, data, size, NULL, 0, &id);
    if (status == RF_OK) status = rf_get(here, &id, 20 * SECOND, &object, &view);
    if (status != RF_OK) puts(rf_last_error());
    if (object) {
        CHECK(view.size == size && memcmp(view.data, data, size) == 0);
        EXPECT(RF_OK, rf_object_release(object));
    }
    if (here) EXPECT(RF_OK, rf_fabric_close(here));
    if (there) EXPECT(RF_OK, rf_fabric_close(there));
    return failures == 0 || status != RF_OK ? status : RF_INVALID_ARGUMENT;
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

/* What a server says to whoever connects, after it has read something, and before it closes the connection. */
struct server {
    int listener;
    const void *answer;
    size_t size;
};

static void *serve_once(void *argument) {
    const struct server *server = (const struct server *)argument;
    char request[512];
    int connection = accept(server->listener, NULL, NULL);
    if (connection < 0) return NULL;
    if (read(connection, request, sizeof request) > 0 && server->size > 0 &&
        write(connection, server->answer, server->size) > 0)
        while (read(connection, request, sizeof request) > 0) continue;
    close(connection);
    return NULL;
}

/* Connects to a server that answers so. */
static void expect_at_server(rf_status expected, const void *answer, size_t size) {
    rf_fabric *fabric = open_node(NULL, key);
    struct sockaddr_in place;
    socklen_t place_size = sizeof place;
    pthread_t thread;
    char address[64];
    struct server server;
    server.listener = socket(AF_INET, SOCK_STREAM, 0);
    server.answer = answer;
    server.size = size;
    memset(&place, 0, sizeof place);
    place.sin_family = AF_INET;
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(server.listener, (struct sockaddr *)&place, sizeof place) == 0 && listen(server.listener, 1) == 0);
    CHECK(getsockname(server.listener, (struct sockaddr *)&place, &place_size) == 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(place.sin_port));
    CHECK(pthread_create(&thread, NULL, serve_once, &server) == 0);
    EXPECT(expected, rf_fabric_connect(fabric, address, 10 * SECOND, NULL));
    EXPECT(RF_OK, rf_fabric_close(fabric));
    CHECK(pthread_join(thread, NULL) == 0);
    close(server.listener);
}

static void strange_servers(void) {
    static const char web[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    /* A handshake's rejection, as docs/protocol.md has it; the code is the body's first byte. */
    static const unsigned char rejection[20] = {0x89, 'R', 'A', 'Y', 'F', 'A', 'B', '\n', 5, 0,
                                                8,    0,   0,   0,   1,   0,   1,   0,    0, 0};
    static const rf_status believed[] = {RF_VERSION_MISMATCH, RF_CONNECTION_LIMIT, RF_STALE_INCARNATION,
                                         RF_AUTHENTICATION_FAILED};
    unsigned char answer[sizeof rejection];
    size_t index;
    expect_at_server(RF_NOT_OUR_PROTOCOL, web, sizeof web - 1);
    expect_at_server(RF_CONNECTION_LOST, NULL, 0);
    for (index = 0; index < sizeof believed / sizeof believed[0]; index++) {
        memcpy(answer, rejection, sizeof answer);
        answer[12] = (unsigned char)believed[index];
        expect_at_server(believed[index], answer, sizeof answer);
    }
    memcpy(answer, rejection, sizeof answer);
    answer[12] = (unsigned char)RF_STORE_FULL;
    expect_at_server(RF_PROTOCOL_VIOLATION, answer, sizeof answer);
}

void test_nodes(void) {
    pulling();
    EXPECT(RF_OK, pull_with("127.0.0.1", RF_TRANSPORT_URING_OR_NIO));
    EXPECT(RF_OK, pull_with("127.0.0.1", RF_TRANSPORT_NIO));
    strangers();
    strange_servers();
}
