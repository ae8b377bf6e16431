// liburing for Swift. Constants that Debian 12's liburing 2.3 does not have yet are given with the
// kernel's values; the library passes a submission entry on without looking at them.
#ifndef RAYFABRIC_CLIBURING_H
#define RAYFABRIC_CLIBURING_H

// First, so that the feature macros which liburing.h defines change no type of the C library.
#include <sys/types.h>

#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

// Macros and enums that Swift does not import as plain integers.
static const unsigned char RF_IOSQE_IO_LINK = IOSQE_IO_LINK;
static const unsigned char RF_IOSQE_FIXED_FILE = IOSQE_FIXED_FILE;
static const unsigned char RF_IOSQE_BUFFER_SELECT = IOSQE_BUFFER_SELECT;
static const unsigned char RF_IOSQE_CQE_SKIP_SUCCESS = IOSQE_CQE_SKIP_SUCCESS;

// ioprio flags of send and receive, from linux/io_uring.h of 6.2 and later.
enum {
    RF_RECVSEND_POLL_FIRST = 1,
    RF_RECV_MULTISHOT = 2,
    RF_RECVSEND_FIXED_BUF = 4,
    RF_SEND_ZC_REPORT_USAGE = 8,
};
// Set in the result of a zero-copy notification when the kernel copied after all.
static const unsigned int RF_NOTIF_USAGE_ZC_COPIED = 1U << 31;

static const unsigned int RF_CQE_F_MORE = IORING_CQE_F_MORE;
static const unsigned int RF_CQE_F_NOTIF = IORING_CQE_F_NOTIF;
static const unsigned int RF_SETUP_CQSIZE = IORING_SETUP_CQSIZE;
static const unsigned int RF_SETUP_CLAMP = IORING_SETUP_CLAMP;
static const unsigned int RF_SETUP_R_DISABLED = IORING_SETUP_R_DISABLED;
static const unsigned int RF_SETUP_COOP_TASKRUN = IORING_SETUP_COOP_TASKRUN;
static const unsigned int RF_SETUP_TASKRUN_FLAG = IORING_SETUP_TASKRUN_FLAG;
static const unsigned int RF_SETUP_SINGLE_ISSUER = IORING_SETUP_SINGLE_ISSUER;
static const unsigned int RF_SETUP_DEFER_TASKRUN = IORING_SETUP_DEFER_TASKRUN;

// liburing 2.3 declares io_uring_enable_rings and does not export it.
static inline int rf_enable_rings(const struct io_uring *ring) {
    return (int)syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, (void *)0, 0);
}

#endif
