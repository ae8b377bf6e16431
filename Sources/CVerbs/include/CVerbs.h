// libibverbs and librdmacm for Swift. Nothing here links against them: the functions are looked up at run
// time and called through tables, so that programs start on machines that do not have the libraries. The
// calls of the data path are inline functions of a header that go through the device's own table.
#ifndef RAYFABRIC_CVERBS_H
#define RAYFABRIC_CVERBS_H

// SwiftPM compiles this target even where the trait Verbs is off and nobody imports it.
#if __has_include(<infiniband/verbs.h>) && __has_include(<rdma/rdma_cma.h>)
// Before the others, which declare socket addresses as well: so that there is one owner of those for Swift.
#include <CLinux.h>

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

// The header has macros of these names.
#undef ibv_reg_mr
#undef ibv_query_port

struct rf_verbs {
    struct ibv_device **(*get_device_list)(int *count);
    void (*free_device_list)(struct ibv_device **list);
    const char *(*get_device_name)(struct ibv_device *device);
    struct ibv_context *(*open_device)(struct ibv_device *device);
    int (*close_device)(struct ibv_context *context);
    int (*query_device)(struct ibv_context *context, struct ibv_device_attr *attributes);
    int (*query_port)(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attributes);
    int (*query_gid)(struct ibv_context *context, uint8_t port, int index, union ibv_gid *gid);
    struct ibv_pd *(*alloc_pd)(struct ibv_context *context);
    int (*dealloc_pd)(struct ibv_pd *domain);
    struct ibv_mr *(*reg_mr)(struct ibv_pd *domain, void *start, size_t count, int access);
    int (*dereg_mr)(struct ibv_mr *region);
    struct ibv_comp_channel *(*create_comp_channel)(struct ibv_context *context);
    int (*destroy_comp_channel)(struct ibv_comp_channel *channel);
    struct ibv_cq *(*create_cq)(struct ibv_context *context, int entries, void *user,
                                struct ibv_comp_channel *channel, int vector);
    int (*destroy_cq)(struct ibv_cq *queue);
    int (*get_cq_event)(struct ibv_comp_channel *channel, struct ibv_cq **queue, void **user);
    void (*ack_cq_events)(struct ibv_cq *queue, unsigned int count);
    struct ibv_qp *(*create_qp)(struct ibv_pd *domain, struct ibv_qp_init_attr *attributes);
    int (*modify_qp)(struct ibv_qp *pair, struct ibv_qp_attr *attributes, int mask);
    int (*destroy_qp)(struct ibv_qp *pair);
    int (*get_async_event)(struct ibv_context *context, struct ibv_async_event *event);
    void (*ack_async_event)(struct ibv_async_event *event);
};

// The connection manager.
struct rf_cm {
    struct rdma_event_channel *(*create_event_channel)(void);
    void (*destroy_event_channel)(struct rdma_event_channel *channel);
    int (*create_id)(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *context,
                     enum rdma_port_space space);
    int (*destroy_id)(struct rdma_cm_id *id);
    int (*bind_addr)(struct rdma_cm_id *id, struct sockaddr *address);
    int (*listen)(struct rdma_cm_id *id, int backlog);
    __be16 (*get_src_port)(struct rdma_cm_id *id);
    int (*resolve_addr)(struct rdma_cm_id *id, struct sockaddr *source, struct sockaddr *destination,
                        int milliseconds);
    int (*resolve_route)(struct rdma_cm_id *id, int milliseconds);
    int (*connect)(struct rdma_cm_id *id, struct rdma_conn_param *parameters);
    int (*accept)(struct rdma_cm_id *id, struct rdma_conn_param *parameters);
    int (*reject)(struct rdma_cm_id *id, const void *data, uint8_t count);
    int (*establish)(struct rdma_cm_id *id);
    int (*init_qp_attr)(struct rdma_cm_id *id, struct ibv_qp_attr *attributes, int *mask);
    int (*get_cm_event)(struct rdma_event_channel *channel, struct rdma_cm_event **event);
    int (*ack_cm_event)(struct rdma_cm_event *event);
    struct ibv_context **(*get_devices)(int *count);
    void (*free_devices)(struct ibv_context **list);
};

static inline int rf_verbs_post(struct ibv_qp *pair, struct ibv_send_wr *first, struct ibv_send_wr **refused) {
    return ibv_post_send(pair, first, refused);
}

static inline int rf_verbs_post_receive(struct ibv_qp *pair, struct ibv_recv_wr *first, struct ibv_recv_wr **refused) {
    return ibv_post_recv(pair, first, refused);
}

static inline int rf_verbs_poll(struct ibv_cq *queue, int count, struct ibv_wc *completions) {
    return ibv_poll_cq(queue, count, completions);
}

// Memory windows of type 1, which belong to a protection domain; a range of no bytes closes one.
static inline struct ibv_mw *rf_verbs_allocate_window(struct ibv_pd *domain) {
    return ibv_alloc_mw(domain, IBV_MW_TYPE_1);
}

static inline int rf_verbs_free_window(struct ibv_mw *window) { return ibv_dealloc_mw(window); }

static inline int rf_verbs_bind_window(struct ibv_qp *pair, struct ibv_mw *window, struct ibv_mw_bind *bind) {
    return ibv_bind_mw(pair, window, bind);
}

static inline int rf_verbs_request_event(struct ibv_cq *queue) { return ibv_req_notify_cq(queue, 0); }

// Enumerators as the plain integers that the structures hold.
static const int RF_VERBS_LOCAL_WRITE = IBV_ACCESS_LOCAL_WRITE;
static const int RF_VERBS_REMOTE_READ = IBV_ACCESS_REMOTE_READ;
static const int RF_VERBS_REMOTE_WRITE = IBV_ACCESS_REMOTE_WRITE;
static const int RF_VERBS_BIND_WINDOW = IBV_ACCESS_MW_BIND;
static const unsigned int RF_VERBS_HAS_WINDOWS = IBV_DEVICE_MEM_WINDOW;
static const int RF_VERBS_TO_STATE = IBV_QP_STATE;

#endif
#endif
