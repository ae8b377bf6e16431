// What the two ends of a `shm` connection share: memory layout, records of the ring, packets of the
// socket. Each segment has one writer, the end that made it; the other end maps it read-only.
//
//   segment     one per end and connection: control words, then the byte ring of that end's records
//   directory   one per transport: a word per region slot, the key of the region that lives there
//
// A position counts the bytes ever written to a ring; `position & (ring_bytes - 1)` is the place.
// Whoever reads what the other end wrote copies it once and checks the copy.
#ifndef RAYFABRIC_SHMTRANSPORTLAYOUT_H
#define RAYFABRIC_SHMTRANSPORTLAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define RF_SHM_MAGIC 0x524659464d485331ull /* "RFYFMHS1" */
#define RF_SHM_VERSION 1
#define RF_SHM_RING_OFFSET 4096      // of the ring in its segment
#define RF_SHM_MINIMUM_RING 1048576
#define RF_SHM_MAXIMUM_RING 67108864
#define RF_SHM_MAXIMUM_MESSAGE 262144
#define RF_SHM_MAXIMUM_LENGTH 262208 // of a record's payload
#define RF_SHM_DIRECTORY_WORDS 65536 // region slots of a transport

// Start of a segment. Words that change lie on lines of their own, two lines apart, because CPUs
// fetch lines in pairs.
struct rf_shm_control {
    uint64_t magic;
    uint64_t version;
    uint64_t padding0[14];
    uint64_t consumed;        // how far this end has read the other end's ring
    uint64_t padding1[15];
    uint64_t sleep;           // epoch << 2 | wants room << 1 | asleep
    uint64_t padding2[15];
    uint64_t heartbeat;       // grows while this end is served by its thread
    uint64_t padding3[15];
};
static const ptrdiff_t RF_SHM_CONSUMED = 128;
static const ptrdiff_t RF_SHM_SLEEP = 256;
static const ptrdiff_t RF_SHM_HEARTBEAT = 384;
_Static_assert(offsetof(struct rf_shm_control, consumed) == 128, "own pair of lines");
_Static_assert(offsetof(struct rf_shm_control, sleep) == 256, "own pair of lines");
_Static_assert(offsetof(struct rf_shm_control, heartbeat) == 384, "own pair of lines");
_Static_assert(sizeof(struct rf_shm_control) == 512, "no hidden padding");
_Static_assert(sizeof(struct rf_shm_control) <= RF_SHM_RING_OFFSET, "the ring comes after it");

// A record is a header word, then `length` bytes, then padding to 8 bytes. The header is
// words << 40 | kind << 32 | length and is stored last; the word after the last record is 0.
// `words` is not 0 in the first record of a batch: the length of the batch, a hint for prefetching.
// Kinds:
#define RF_SHM_MESSAGE 1        // the bytes of a message
#define RF_SHM_FINISH 2         // no more messages or operations; empty
#define RF_SHM_NOTIFY 3         // a direct write is in place; rf_shm_operation
#define RF_SHM_WRITE 4          // a part of a write; rf_shm_operation, then the bytes
#define RF_SHM_READ 5           // ask for bytes; rf_shm_operation
#define RF_SHM_DATA 6           // a part of the answer to READ; rf_shm_operation, then the bytes
#define RF_SHM_DONE 7           // an operation has ended at the target; rf_shm_operation
#define RF_SHM_CANCEL 8         // stop to answer a READ; rf_shm_operation

struct rf_shm_operation {
    uint64_t operation;       // chosen by the initiator, returned in DATA and DONE
    uint64_t key;             // WRITE, READ: region of the target
    uint64_t offset;          // WRITE, READ: within the region; DATA: within the operation
    uint64_t remaining;       // READ: bytes wanted; WRITE, DATA: bytes that follow in later parts
    uint64_t notification;    // NOTIFY, last WRITE: for the target, when `flags` says so
    uint32_t flags;
    uint32_t status;          // DONE: 0 or an error code
};
_Static_assert(sizeof(struct rf_shm_operation) == 48, "no hidden padding");
#define RF_SHM_FLAG_NOTIFY 1

// First packet on the socket after the handshake. With code 0 it carries two descriptors: the
// sender's segment and directory. Any other code refuses the connection.
struct rf_shm_setup {
    uint64_t magic;
    uint32_t version;
    uint32_t code;
    uint64_t ring_bytes;          // a power of two
    uint64_t window;              // bytes of messages that the sender will have in its ring at most
    uint32_t maximum_operations;  // that the sender will serve at a time
    uint32_t padding;
};
_Static_assert(sizeof(struct rf_shm_setup) == 40, "no hidden padding");

// Later packets on the socket.
#define RF_SHM_BELL 1           // wakes the other end
#define RF_SHM_REGION_QUERY 2   // where is the memory of `key`?
#define RF_SHM_REGION_ANSWER 3  // one descriptor when `status` is 0
#define RF_SHM_GOODBYE 4        // `status` says why the connection ends

struct rf_shm_packet {
    uint32_t kind;
    uint32_t status;          // ANSWER: 0 or an error code
    uint64_t key;
    uint64_t offset;          // ANSWER: where the region starts in its file
    uint64_t length;          // ANSWER: of the region
    uint32_t access;          // ANSWER: 1 read, 2 write
    uint32_t padding;
};
_Static_assert(sizeof(struct rf_shm_packet) == 40, "no hidden padding");

#endif
