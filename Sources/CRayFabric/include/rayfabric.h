/*
 * rayfabric.h: objects put once and read many times, in shared memory on a node and pulled between nodes.
 * The C interface of RayFabric. docs/c-api.md is the tutorial, this file the reference.
 *
 * What holds everywhere
 *
 * Status   Every function that can fail returns RF_OK or a status that rf_status_name() names, and leaves a
 *          text in rf_last_error(). Output parameters are written only where RF_OK is returned, unless it
 *          says otherwise; those marked "may be NULL" are then not written.
 * Handles  rf_fabric, rf_draft, rf_object and rf_queue are handles, not addresses: never read through them.
 *          Each use checks them. NULL, closed, released or of another kind: RF_HANDLE_INVALID.
 * Threads  Any thread may use any handle at any time, two threads the same one as well. Where a thread ends
 *          the use of a handle, other threads that are in a call with it finish that call first, or get a
 *          status.
 * Waiting  Every wait has a limit, in nanoseconds; 0 does not wait, a negative one is RF_INVALID_ARGUMENT.
 *          Functions without a limit do not wait for other programs, or at most 5 seconds for the process
 *          that hosts the store (then RF_PEER_UNRESPONSIVE), or up to 30 seconds where that is said.
 * Fork     A process that has opened or attached to a fabric may fork, but its child must not use the library:
 *          there every function that returns a status does RF_FORKED, but rf_check_abi(). Programs that the child
 *          executes are not concerned. A child that lives on keeps its parent's objects pinned after the
 *          parent has died.
 * Signals  The library installs no signal handler, changes no environment variable and prints nothing. Its own
 *          threads block all signals. No function may be called from a signal handler, and a thread that is in
 *          one must not be cancelled (pthread_cancel).
 * Growing  Structures begin with struct_size, which the caller sets to their size; the functions that end in
 *          _init do it, and set the rest to zero, the default. Members that the library does not know must be
 *          zero, those that the caller does not know are left alone.
 */
#ifndef RAYFABRIC_H
#define RAYFABRIC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The version of this header. */
#define RF_VERSION_MAJOR 0
#define RF_VERSION_MINOR 1
#define RF_VERSION_PATCH 0
#define RF_VERSION ((RF_VERSION_MAJOR * 1000 + RF_VERSION_MINOR) * 1000 + RF_VERSION_PATCH)
/* For the preprocessor: whether this header has what came with version major.minor. */
#define RF_VERSION_AT_LEAST(major, minor) (RF_VERSION >= ((major) * 1000 + (minor)) * 1000)
/* Changes when programs must be compiled anew; the number in the name of the shared library. */
#define RF_ABI 0

#if defined(__GNUC__)
#define RF_API __attribute__((visibility("default")))
#else
#define RF_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status ------------------------------------------------------------------------------------------- */

/* What came of a call: one of the values below, each of which some function returns. Numbers never change; new ones
 * may come. */
typedef int32_t rf_status;

enum {
    RF_OK = 0,
    /* Usage */
    RF_INVALID_ARGUMENT = 1,  /* an argument is NULL, out of range or not readable as what it should be */
    RF_CLOSED = 3,            /* the fabric or the queue was closed, perhaps while the call waited */
    RF_DEADLINE_EXCEEDED = 5, /* not there within the limit */
    RF_UNSUPPORTED = 6,       /* this build, system or kind of fabric can not do it */
    /* The store */
    RF_STORE_FULL = 20,         /* no memory left; the text says who holds it */
    RF_OBJECT_TOO_LARGE = 21,   /* larger than the store */
    RF_OBJECT_NOT_FOUND = 22,   /* not here, and not known to its node */
    RF_OBJECT_DELETED = 23,     /* it was deleted */
    RF_HOST_LOST = 25,          /* the process that hosts the store ended */
    RF_HOST_EXISTS = 26,        /* another process hosts a store at this path */
    RF_ATTACH_REFUSED = 27,     /* the host belongs to another user */
    RF_TOO_MANY_OBJECTS = 28,   /* maximum_objects are there */
    RF_TOO_MANY_CLIENTS = 29,   /* maximum_clients are attached */
    RF_PROTOCOL_VIOLATION = 30, /* the other side broke the protocol and was cut off */
    RF_TOO_MANY_WAITS = 31,     /* this process waits for too many objects at once */
    /* The system */
    RF_OUT_OF_MEMORY = 40,
    RF_DESCRIPTOR_LIMIT = 41,
    RF_PERMISSION_DENIED = 42,
    RF_SYSTEM = 43,              /* a system call failed; the text has its error number */
    RF_IO_URING_FORBIDDEN = 44,  /* the system forbids io_uring */
    RF_LOCKED_MEMORY_LIMIT = 45, /* RDMA may not lock the memory that it needs */
    RF_RDMA_UNAVAILABLE = 46,    /* no RDMA device that works */
    /* The network */
    RF_ADDRESS_INVALID = 60,
    RF_ADDRESS_IN_USE = 61,
    RF_HOST_NOT_FOUND = 62,
    RF_CONNECTION_REFUSED = 63,
    RF_CONNECTION_LOST = 64,
    RF_PEER_UNRESPONSIVE = 65, /* silent: stopped, overloaded or cut off */
    RF_AUTHENTICATION_FAILED = 66,
    RF_VERSION_MISMATCH = 67, /* the other end speaks no version of the protocol that this one does */
    RF_NOT_OUR_PROTOCOL = 68,
    RF_STALE_INCARNATION = 69,
    RF_CONNECTION_LIMIT = 70,
    RF_KEY_REQUIRED = 71, /* to listen on an address that is not loopback, a key is needed */
    RF_UNREACHABLE = 72,
    /* Transfer */
    RF_SOURCE_UNAVAILABLE = 82, /* no node that has the object can be reached */
    RF_BUSY = 83,               /* no room now: take completions first */
    /* This interface */
    RF_HANDLE_INVALID = 100,   /* NULL, closed, released, or of another kind */
    RF_FORKED = 101,           /* this process is a forked child, see above */
    RF_STRUCT_SIZE = 102,      /* struct_size is wrong, or a member that this version does not know is set */
    RF_ABI_MISMATCH = 103,     /* compiled with a header that this library does not serve */
    RF_TOO_MANY_HANDLES = 104, /* RF_MAXIMUM_HANDLES of a kind are open */
    RF_BUFFER_TOO_SMALL = 105  /* the text does not fit; the length that it needs was written, where one is asked for */
};

/* Handles of one kind that may be open at a time, in a process; one less for each other thread that has released
 * some. */
#define RF_MAXIMUM_HANDLES 1048576

/* The name of a status, such as "RF_STORE_FULL"; "RF_UNKNOWN" for a number that this library does not know.
 * Never NULL, never freed. */
RF_API const char *rf_status_name(rf_status status);

/* What the last failed call of this thread was about: one line for people, with what to do. Never NULL; empty
 * before the first failure. Neither allocates nor fails. Valid until the thread's next failed call. */
RF_API const char *rf_last_error(void);

/* ---- Version ------------------------------------------------------------------------------------------ */

/* RF_VERSION of the library that runs. */
RF_API int32_t rf_version(void);

/* The version of the library that runs, such as "0.1.0". Never freed. */
RF_API const char *rf_version_text(void);

/* Whether the library serves a program that was compiled with RF_ABI `abi` and RF_VERSION `version`: the same
 * ABI, and no newer header. Call rf_check_version(). */
RF_API rf_status rf_check_abi(int32_t abi, int32_t version);

/* RF_ABI_MISMATCH if the program was compiled with a header that the library does not serve. */
static inline rf_status rf_check_version(void) { return rf_check_abi(RF_ABI, RF_VERSION); }

/* ---- Identifiers -------------------------------------------------------------------------------------- */

#define RF_OBJECT_ID_BYTES 24
/* Characters of the text form of an object's identifier, with its final zero. */
#define RF_OBJECT_ID_TEXT_BYTES 54
#define RF_NODE_ID_BYTES 12

/* Names an object everywhere and for ever. Plain bytes, the same on every machine: copy them, compare them with
 * memcmp(), send them to whoever shall get the object. */
typedef struct rf_object_id {
    uint8_t bytes[RF_OBJECT_ID_BYTES];
} rf_object_id;

/* Names a node and its incarnation. */
typedef struct rf_node_id {
    uint8_t bytes[RF_NODE_ID_BYTES];
} rf_node_id;

/* Writes the text form of an identifier, RF_OBJECT_ID_TEXT_BYTES characters with the final zero. */
RF_API rf_status rf_object_id_format(const rf_object_id *id, char *text, size_t capacity);

/* Reads the text form. RF_INVALID_ARGUMENT when it is anything else. */
RF_API rf_status rf_object_id_parse(const char *text, rf_object_id *id);

/* ---- A fabric ----------------------------------------------------------------------------------------- */

/* The use of a store, by this process. */
typedef struct rf_fabric rf_fabric;

/* Told of what an operator should know, in one line. Called on a thread of the library, or on the one that is in
 * rf_fabric_open(); must return soon and must not call the library. */
typedef void (*rf_log_function)(void *context, const char *message);

/* How nodes are connected. */
enum {
    RF_TRANSPORT_DEFAULT = 0,        /* as RF_TRANSPORT_URING */
    RF_TRANSPORT_URING = 1,          /* TCP through io_uring; RF_IO_URING_FORBIDDEN where the system forbids it */
    RF_TRANSPORT_URING_OR_NIO = 2,   /* or TCP through epoll where io_uring is forbidden; that is logged */
    RF_TRANSPORT_NIO = 3,            /* TCP through epoll */
    RF_TRANSPORT_VERBS = 4,          /* RDMA only */
    RF_TRANSPORT_VERBS_OR_URING = 5  /* RDMA with nodes that have it too, TCP with others */
};

enum {
    /* Take what is not set in the structure from the environment: RAYFABRIC_CAPACITY, RAYFABRIC_PATH,
     * RAYFABRIC_LISTEN, RAYFABRIC_KEY, RAYFABRIC_TRANSPORT and RAYFABRIC_FILE, with values as in `file`. */
    RF_OPEN_ENVIRONMENT = 1,
    /* Connect to other nodes, even if `listen` is not set and none connects to this one. */
    RF_OPEN_NETWORK = 2
};

/* Settings of a fabric that hosts a store. What is zero here comes from the environment, if asked to, then from
 * the file, if there is one, then from the default. */
typedef struct rf_fabric_options {
    size_t struct_size;
    uint32_t flags;    /* RF_OPEN_..., or-ed */
    int32_t transport; /* RF_TRANSPORT_... */
    /* Bytes of objects that the store may hold, at least 64 KiB. Needed. */
    uint64_t capacity;
    /* The Unix socket at which other processes of this node attach; NULL: none. */
    const char *path;
    /* HOST:PORT or [IPv6]:PORT at which other nodes connect; port 0 lets the system choose. NULL: nobody
     * connects to this node. */
    const char *listen;
    /* The secret that all nodes of a cluster share, at least 16 bytes. Without it `listen` must be a loopback
     * address. */
    const void *key;
    size_t key_size;
    /* A text file of settings: lines of a name, white space and a value; empty lines and those that begin with
     * # are skipped. Names: capacity (bytes, or with KiB, MiB, GiB), path, listen, key, transport (uring,
     * uring-or-nio, nio, verbs, verbs-or-uring). A file with a key must be readable by its owner only, else
     * RF_PERMISSION_DENIED. */
    const char *file;
    uint64_t maximum_objects; /* most objects; 0: 1048576 */
    uint64_t prefault;        /* bytes of memory made ready ahead of demand; 0: 128 MiB */
    rf_log_function log;      /* NULL: nothing is logged */
    void *log_context;
    uint32_t maximum_clients; /* most attached processes; this one is one, and its network another; 0: 256 */
    uint32_t reserved;        /* 0 */
} rf_fabric_options;

/* All defaults. */
static inline void rf_fabric_options_init(rf_fabric_options *options) {
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
}

/* Starts a store in this process. The handle is the caller's, to be closed with rf_fabric_close().
 * Nothing of `options` is kept but the logging function and its context.
 * RF_INVALID_ARGUMENT, RF_OUT_OF_MEMORY, RF_HOST_EXISTS, RF_ADDRESS_IN_USE, RF_KEY_REQUIRED, ... */
RF_API rf_status rf_fabric_open(const rf_fabric_options *options, rf_fabric **fabric);

/* Attaches to the store that another process of this node hosts at the Unix socket `path`. `name` is how
 * rf_fabric_inspect() and errors name this process; NULL: "client". The handle is the caller's, to be closed with
 * rf_fabric_close(). RF_CONNECTION_REFUSED when no host is there, RF_ATTACH_REFUSED, RF_TOO_MANY_CLIENTS, ... */
RF_API rf_status rf_fabric_attach(const char *path, const char *name, rf_fabric **fabric);

/* Ends the use of a store. Calls that wait end with RF_CLOSED; objects that are still held stay readable until
 * they are released. If this process hosts the store, those attached get RF_HOST_LOST. Waits for the library's
 * threads; must not be called from the logging function. A second time: RF_HANDLE_INVALID. */
RF_API rf_status rf_fabric_close(rf_fabric *fabric);

/* Connects to another node, so that its objects can be got here and ours there. `address` is HOST:PORT or
 * [IPv6]:PORT. `node`, which may be NULL, receives who it has proven to be.
 * RF_CONNECTION_REFUSED, RF_HOST_NOT_FOUND, RF_AUTHENTICATION_FAILED, RF_NOT_OUR_PROTOCOL, RF_DEADLINE_EXCEEDED,
 * ...; RF_UNSUPPORTED for a fabric without a network. */
RF_API rf_status rf_fabric_connect(rf_fabric *fabric, const char *address, int64_t limit_ns, rf_node_id *node);

/* Writes where other nodes connect to this one, with the port that the system chose and a final zero.
 * `length`, which may be NULL, receives the characters without the zero, also with RF_BUFFER_TOO_SMALL.
 * RF_UNSUPPORTED for a fabric that does not listen. */
RF_API rf_status rf_fabric_address(rf_fabric *fabric, char *text, size_t capacity, size_t *length);

/* ---- Making objects ----------------------------------------------------------------------------------- */

/* Memory of the store that becomes an object once it is sealed. */
typedef struct rf_draft rf_draft;

/* Copies `size` bytes at `data` into a new object: one copy. Up to 64 KiB of metadata travel with it. Pointers
 * may be NULL where their size is 0. Waits up to 30 seconds for memory, if other threads or processes are about
 * to free some, and for a host that does not answer. RF_OBJECT_TOO_LARGE, RF_STORE_FULL, RF_OUT_OF_MEMORY,
 * RF_TOO_MANY_OBJECTS, RF_DEADLINE_EXCEEDED, RF_HOST_LOST, ... */
RF_API rf_status rf_put(rf_fabric *fabric, const void *data, size_t size, const void *metadata, size_t metadata_size,
                        rf_object_id *id);

/* Room for an object of `size` bytes, at an address that is a multiple of 64: fill it in place, then seal or
 * abort it. What it holds at first is undefined. The memory may be written until then, also after the fabric was
 * closed. Otherwise as rf_put(). */
RF_API rf_status rf_draft_create(rf_fabric *fabric, size_t size, const void *metadata, size_t metadata_size,
                                 rf_draft **draft, void **data);

/* Makes the object visible to all, for ever unchanged: its memory must not be written any more. No copy. The
 * handle ends, whatever the status. Any other status than RF_OK: there is no object; but with RF_DEADLINE_EXCEEDED,
 * when the host of a store that is nearly full of objects has not answered for 30 seconds, it may still come to be,
 * and nobody knows its identifier. */
RF_API rf_status rf_draft_seal(rf_draft *draft, rf_object_id *id);

/* Drops the draft; its memory is free again and must not be touched any more. The handle ends. */
RF_API rf_status rf_draft_abort(rf_draft *draft);

/* ---- Getting objects ---------------------------------------------------------------------------------- */

/* An object that stays where it is, readable in place, until it is released. */
typedef struct rf_object rf_object;

/* Where an object lies. Nobody may write there: the memory is mapped read-only in most processes. */
typedef struct rf_view {
    size_t struct_size;
    const void *data; /* a multiple of 64; not NULL, also for an empty object */
    size_t size;
    const void *metadata; /* aligned to nothing; not NULL */
    size_t metadata_size;
} rf_view;

static inline void rf_view_init(rf_view *view) {
    memset(view, 0, sizeof *view);
    view->struct_size = sizeof *view;
}

/* Gets an object to read it in place: no copy. Waits up to `limit_ns` for it to be sealed; an object of another
 * node is pulled into this node's store first. The handle is the caller's, to be given back with
 * rf_object_release(). `view`, which may be NULL, receives where it lies, valid until then.
 * RF_DEADLINE_EXCEEDED, RF_OBJECT_DELETED, RF_HOST_LOST, RF_TOO_MANY_WAITS; RF_OBJECT_NOT_FOUND,
 * RF_SOURCE_UNAVAILABLE, RF_CONNECTION_LOST, RF_STORE_FULL, ... when it can not be pulled. */
RF_API rf_status rf_get(rf_fabric *fabric, const rf_object_id *id, int64_t limit_ns, rf_object **object,
                        rf_view *view);

/* Gets `count` objects, at most RF_MAXIMUM_HANDLES, and returns as soon as `wanted` of them are there. `objects` has
 * `count` places; those of objects that are not there receive NULL, and so do all with any status but RF_OK.
 * Otherwise as rf_get(). */
RF_API rf_status rf_get_many(rf_fabric *fabric, const rf_object_id *ids, size_t count, size_t wanted,
                             int64_t limit_ns, rf_object **objects);

/* Where an object lies, valid until it is released. */
RF_API rf_status rf_object_view(rf_object *object, rf_view *view);

/* Gives an object back: its memory must not be read any more. A second time: RF_HANDLE_INVALID. */
RF_API rf_status rf_object_release(rf_object *object);

/* Whether an object is in this node's store: 1 or 0. */
RF_API rf_status rf_contains(rf_fabric *fabric, const rf_object_id *id, int32_t *found);

/* Deletes `count` objects, at most RF_MAXIMUM_HANDLES: they can not be got any more; who holds one keeps it until it
 * is released. RF_OBJECT_NOT_FOUND for the first that is not there, but for an own object that the store has yet to
 * hear of; the others are deleted all the same. */
RF_API rf_status rf_delete(rf_fabric *fabric, const rf_object_id *ids, size_t count);

/* ---- Getting objects without waiting ------------------------------------------------------------------ */

/* Where gets that were started end, in the order in which they do. */
typedef struct rf_queue rf_queue;

/* How a get ended. The size of this structure does not change. */
typedef struct rf_completion {
    uint64_t tag;      /* the caller's, as given to rf_get_async() */
    rf_object *object; /* the caller's, to be released; NULL unless RF_OK */
    rf_status status;  /* as of rf_get() */
    int32_t reserved;  /* 0 */
} rf_completion;

/* A queue for at most `capacity` gets, 1 to 1048576, under way or ended and not taken. The handle is the caller's, to
 * be closed with rf_queue_close(), before or after the fabric. */
RF_API rf_status rf_queue_create(rf_fabric *fabric, size_t capacity, rf_queue **queue);

/* A descriptor that is readable while there are completions: for poll(), epoll and io_uring. It remains the
 * queue's: neither read nor close it. */
RF_API rf_status rf_queue_descriptor(rf_queue *queue, int32_t *descriptor);

/* Starts to get an object, for at most `limit_ns`. RF_OK: there will be exactly one completion with this tag.
 * RF_BUSY: the queue has no place left. */
RF_API rf_status rf_get_async(rf_queue *queue, const rf_object_id *id, int64_t limit_ns, uint64_t tag);

/* Takes up to `capacity` completions; waits up to `limit_ns` for the first. `count` receives how many there were.
 * RF_DEADLINE_EXCEEDED when there was none, RF_CLOSED when another thread closed the queue. */
RF_API rf_status rf_queue_take(rf_queue *queue, rf_completion *completions, size_t capacity, int64_t limit_ns,
                               size_t *count);

/* Gives up the gets that are under way and releases the objects that were not taken. */
RF_API rf_status rf_queue_close(rf_queue *queue);

/* ---- Looking inside ----------------------------------------------------------------------------------- */

/* How full a store is. */
typedef struct rf_usage {
    size_t struct_size;
    uint64_t capacity;        /* bytes promised at start */
    uint64_t ready_bytes;     /* of memory that exists */
    uint64_t primary_bytes;   /* of objects put here */
    uint64_t secondary_bytes; /* of copies of objects of other nodes, which may be evicted */
    uint64_t objects;         /* of both kinds, deleted ones that are still held included */
    uint64_t evictions;       /* since the start, as those below */
    uint64_t refusals;        /* of memory */
    uint64_t duplicates;      /* objects sealed under an identifier that existed */
} rf_usage;

static inline void rf_usage_init(rf_usage *usage) {
    memset(usage, 0, sizeof *usage);
    usage->struct_size = sizeof *usage;
}

RF_API rf_status rf_fabric_usage(rf_fabric *fabric, rf_usage *usage);

/* What was pulled from other nodes and served to them, since the start. */
typedef struct rf_transfers {
    size_t struct_size;
    uint64_t peers; /* nodes connected now */
    uint64_t objects_pulled;
    uint64_t bytes_pulled;
    uint64_t requests_repeated; /* for want of an answer */
    uint64_t reads_repeated;    /* after a failure */
    uint64_t pins_for_peers;    /* objects that other nodes read now */
    uint64_t bytes_sent;        /* payload of messages and one-sided operations */
    uint64_t bytes_received;
    uint64_t rdma_operations;
} rf_transfers;

static inline void rf_transfers_init(rf_transfers *transfers) {
    memset(transfers, 0, sizeof *transfers);
    transfers->struct_size = sizeof *transfers;
}

/* RF_UNSUPPORTED for a fabric without a network. */
RF_API rf_status rf_fabric_transfers(rf_fabric *fabric, rf_transfers *transfers);

/* One process's hold on an object. The size of this structure does not change. */
typedef struct rf_holder {
    uint32_t client;
    uint32_t count;
} rf_holder;

/* An object in the store, as it was when it was asked for. */
typedef struct rf_object_info {
    size_t struct_size; /* set by the library: members beyond it are not there */
    rf_object_id id;
    uint64_t size;
    uint32_t metadata_size;
    uint32_t creator;     /* number of the process that sealed it */
    int32_t is_secondary; /* a copy of an object of another node */
    int32_t is_deleted;   /* deleted, and here because it is held */
    int64_t age_ns;       /* since it was sealed */
    const rf_holder *holders; /* at most 32 of them */
    size_t holder_count;
} rf_object_info;

/* Called for each object; `info` is valid until it returns. 0: go on, anything else: stop. */
typedef int32_t (*rf_inspect_function)(void *context, const rf_object_info *info);

/* Calls `visit` for each object in the store, on this thread. It may call the library. */
RF_API rf_status rf_fabric_inspect(rf_fabric *fabric, rf_inspect_function visit, void *context);

/* Writes, for people, what this build and this system can do, and how the fabric is connected and filled; without
 * the latter if `fabric` is NULL. `length`, which may be NULL, receives the characters without the final zero,
 * also with RF_BUFFER_TOO_SMALL. Takes up to a few milliseconds. */
RF_API rf_status rf_fabric_explain(rf_fabric *fabric, char *text, size_t capacity, size_t *length);

#ifdef __cplusplus
}
#endif

#endif
