// The object store's shared memory. Each area has one writing process:
//
//   directory   written by the host, read by all: header, segment table, hash buckets, object entries
//   ledger      written by one client, read by the host: header, command ring, pin table
//   mailbox     written by the host for one client: header, reply ring
//   segments    written by the client that holds the lease, read by all: the objects' bytes
//
// All words are accessed atomically; whoever reads memory that another process writes copies a word
// once and checks it before use.
#ifndef RAYFABRIC_STORELAYOUT_H
#define RAYFABRIC_STORELAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define RF_STORE_MAGIC 0x524659464f424a31ull /* "RFYFOBJ1" */

// First bytes of the directory, followed at `segments_offset` by the segment table, at
// `buckets_offset` by the buckets and at `entries_offset` by the entries.
struct rf_directory_header {
    uint64_t magic;
    uint64_t capacity;        // bytes, a multiple of the segment size
    uint32_t segment_shift;   // a segment has 1 << segment_shift bytes
    uint32_t segment_count;
    uint32_t entry_count;     // most objects
    uint32_t bucket_shift;    // 1 << bucket_shift buckets
    uint64_t segments_offset;
    uint64_t buckets_offset;
    uint64_t entries_offset;
    uint64_t byte_count;      // of the whole directory
    uint64_t reserved[8];
    // A line of its own: words that change.
    uint32_t host_sleeping;   // 1 while the host may be asleep: ring the doorbell
    uint32_t waiters;         // processes wait for objects: ring after each seal
    uint32_t use_clock;       // coarse time of use, for eviction in order of last use
    uint32_t closed;          // 1 when the host has shut down
    uint32_t room;            // commands a client may have under way when it seals without asking
    uint32_t padding[27];
};

// Word of a segment in the segment table: its generation, which changes when its memory does.
struct rf_segment_entry {
    uint64_t generation;      // 0: no memory
};

// Bucket: upper half tag of the hash, lower half entry index + 1; 0 is empty, lower half 0 with a
// tag is a grave.

// One object. `version` is generation << 8 | state.
struct rf_object_entry {
    uint64_t version;
    uint64_t id[3];
    uint64_t offset;          // in the arena, the concatenation of all segments
    uint64_t size;            // bytes of payload; metadata follows it
    uint64_t attributes;      // metadata size << 32 | creator client << 8 | flags
    uint64_t sealed_at;       // monotonic ns
};

#define RF_ENTRY_FREE 0
#define RF_ENTRY_SEALED 1
#define RF_ENTRY_DYING 2

#define RF_OBJECT_SECONDARY 1

// First bytes of a ledger, followed at 4096 by the command ring and then by the pin table.
struct rf_ledger_header {
    uint64_t tail;            // next command position to claim
    uint64_t padding0[15];
    uint64_t replies_taken;   // reply positions consumed
    uint64_t padding1[15];
};

// A command of a client. `sequence` is position + 1, written last.
struct rf_command {
    uint64_t sequence;
    uint32_t kind;
    uint32_t flags;
    uint64_t id[3];
    uint64_t offset;
    uint64_t size;
    uint32_t metadata_size;
    uint32_t token;
};

#define RF_COMMAND_PUBLISH 1
#define RF_COMMAND_RETURN 2
#define RF_COMMAND_DELETE 3
#define RF_COMMAND_GRANT 4
#define RF_COMMAND_WAIT 5
#define RF_COMMAND_FORGET 6
#define RF_COMMAND_UNPINNED 7

#define RF_WAIT_PULL 1
#define RF_WAIT_ASYNC 2

#define RF_COMMAND_COUNT 8192
#define RF_LEDGER_COMMANDS 4096

// One word a client keeps for each entry: how often it has pinned it, and when it last used it.
struct rf_pin {
    uint32_t count;
    uint32_t last_use;
};

// First bytes of a mailbox, followed at 4096 by the reply ring.
struct rf_mailbox_header {
    uint64_t commands_taken;  // command positions consumed
    uint64_t padding0[15];
    uint32_t wake;            // futex word, counts wake-ups
    uint32_t evicted;         // 1 when the host has cut this client off
    uint32_t unsent;          // 1 when replies wait for room: ring after taking some
    uint32_t padding3;
    uint64_t padding1[14];
    uint64_t replies_written; // reply positions written
    uint64_t padding2[15];
};

// An answer of the host to one client.
struct rf_reply {
    uint32_t kind;
    uint32_t token;
    uint64_t offset;
    uint64_t size;
    uint64_t code;
};

#define RF_REPLY_GRANT 1
#define RF_REPLY_DENIED 2
#define RF_REPLY_WAIT_FAILED 3

#define RF_REPLY_COUNT 2048
#define RF_MAILBOX_REPLIES 4096

_Static_assert(sizeof(struct rf_directory_header) == 256, "directory header");
_Static_assert(offsetof(struct rf_directory_header, host_sleeping) == 128, "changing words on their own line");
_Static_assert(sizeof(struct rf_object_entry) == 64, "an entry is a cache line");
_Static_assert(sizeof(struct rf_command) == 64, "a command is a cache line");
_Static_assert(sizeof(struct rf_ledger_header) == 256, "ledger header");
_Static_assert(sizeof(struct rf_pin) == 8, "pin");
_Static_assert(sizeof(struct rf_mailbox_header) == 384, "mailbox header");
_Static_assert(offsetof(struct rf_mailbox_header, wake) == 128, "mailbox wake word");
_Static_assert(sizeof(struct rf_reply) == 32, "reply");

#endif
