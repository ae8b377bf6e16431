// One io_uring: set-up, submission and completion. Knows nothing of what is submitted.

internal import CLiburing
internal import CLinux
internal import RayCore

/// What the kernel said about one submission.
struct RingCompletion {
    let tag: UInt64
    /// Bytes or descriptors; a negative error number on failure.
    let result: Int32
    let flags: UInt32

    /// This completion ends a send without a copy, and a notice will follow.
    var isFollowedByNotice: Bool { flags & RF_CQE_F_MORE != 0 }
    /// The kernel has let go of the memory of a send without a copy that has completed before.
    var isNotice: Bool { flags & RF_CQE_F_NOTIF != 0 }
    /// In a notice: the kernel has copied after all.
    var wasCopied: Bool { UInt32(bitPattern: result) & RF_NOTIF_USAGE_ZC_COPIED != 0 }
}

/// A ring. It binds to the thread that first calls `collect` or `wait`, which alone may call these
/// and `submit` from then on: that lets the kernel do without locks and interrupts.
@safe
final class Ring {
    /// The flags of the set-up that the kernel accepted.
    let setupFlags: UInt32
    private let ring: UnsafeMutablePointer<io_uring>
    private var isEnabled: Bool
    private(set) var systemCalls: UInt64 = 0

    private static let submissionEntries: UInt32 = 256
    private static let completionEntries: UInt32 = 4096
    /// From best to what every kernel with io_uring has.
    private static let flagSets: [UInt32] = [
        RF_SETUP_SINGLE_ISSUER | RF_SETUP_DEFER_TASKRUN | RF_SETUP_TASKRUN_FLAG | RF_SETUP_R_DISABLED,
        RF_SETUP_COOP_TASKRUN | RF_SETUP_TASKRUN_FLAG | RF_SETUP_R_DISABLED,
        RF_SETUP_R_DISABLED,
    ]

    /// - Throws: `ioUringForbidden` where the system does not allow or have io_uring,
    ///   `descriptorLimit`, `outOfMemory`, `system`.
    init() throws(FabricError) {
        unsafe (ring, setupFlags) = try Self.setUp()
        isEnabled = false
    }

    /// Before any property is set, so that `deinit` never sees a ring that was not made.
    private static func setUp() throws(FabricError) -> (UnsafeMutablePointer<io_uring>, flags: UInt32) {
        let ring = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        unsafe ring.initialize(to: io_uring())
        var status: Int32 = 0
        for flags in flagSets {
            var parameters = io_uring_params()
            parameters.flags = flags | RF_SETUP_CQSIZE | RF_SETUP_CLAMP
            parameters.cq_entries = completionEntries
            status = unsafe io_uring_queue_init_params(submissionEntries, ring, &parameters)
            if status == 0 { return unsafe (ring, flags) }
            // EINVAL: a kernel that does not know one of the flags.
            if status != -EINVAL { break }
        }
        unsafe ring.deallocate()
        throw error(ofSetup: -status)
    }

    deinit {
        unsafe io_uring_queue_exit(ring)
        unsafe ring.deallocate()
    }

    static func error(ofSetup number: Int32) -> FabricError {
        switch number {
        case EPERM, EACCES, ENOSYS: FabricError(.ioUringForbidden, errno: number, "io_uring_setup")
        default: systemError(number, "io_uring_setup")
        }
    }

    /// The names of the flags that were got, for people.
    var description: String {
        let names: [(UInt32, String)] = [
            (RF_SETUP_SINGLE_ISSUER, "single issuer"), (RF_SETUP_DEFER_TASKRUN, "deferred task work"),
            (RF_SETUP_COOP_TASKRUN, "cooperative task work"),
        ]
        let got = names.filter { setupFlags & $0.0 != 0 }.map(\.1)
        return got.isEmpty ? "no optional flags" : got.joined(separator: ", ")
    }

    // MARK: Submission

    /// Queues a submission with this tag; `prepare` fills it in. `submit` or `wait` hands it over.
    @safe
    func queue(tag: UInt64, _ prepare: (UnsafeMutablePointer<io_uring_sqe>) -> Void) {
        var entry = unsafe io_uring_get_sqe(ring)
        while unsafe entry == nil {
            submit()
            unsafe entry = io_uring_get_sqe(ring)
        }
        guard let entry = unsafe entry else { preconditionFailure("a submitted ring has room") }
        unsafe prepare(entry)
        unsafe entry.pointee.user_data = tag
    }

    /// Queues one completion for when the descriptor is readable.
    func queuePoll(tag: UInt64, descriptor: Int32) {
        queue(tag: tag) { entry in unsafe io_uring_prep_poll_add(entry, descriptor, UInt32(POLLIN)) }
    }

    /// Ends what was queued with the tag `target`.
    func queueCancel(tag: UInt64, of target: UInt64) {
        queue(tag: tag) { entry in unsafe io_uring_prep_cancel64(entry, target, 0) }
    }

    /// Hands what is queued to the kernel, and lets it do what it has deferred.
    func submit() {
        enable()
        guard unsafe io_uring_sq_ready(ring) > 0 else { return }
        systemCalls += 1
        checkThread(unsafe io_uring_submit_and_get_events(ring))
    }

    private func enable() {
        guard !isEnabled else { return }
        isEnabled = true
        let status = unsafe rf_enable_rings(ring)
        precondition(status == 0, "enabling a ring that was set up disabled")
    }

    private func checkThread(_ status: Int32) {
        precondition(status != -EEXIST, "a uring transport is driven by the thread that first polled it")
    }

    // MARK: Completion

    /// The next completion without waiting; enters the kernel only if it has something to say.
    func next() -> RingCompletion? {
        enable()
        var entry: UnsafeMutablePointer<io_uring_cqe>?
        guard unsafe io_uring_peek_batch_cqe(ring, &entry, 1) == 1, let entry = unsafe entry else { return nil }
        // SAFETY: the kernel does not touch the entry until cq_advance.
        let completion = unsafe RingCompletion(
            tag: entry.pointee.user_data, result: entry.pointee.res, flags: entry.pointee.flags)
        unsafe io_uring_cq_advance(ring, 1)
        return completion
    }

    /// Like `wait`, but false when another thread owns the ring.
    func waitIfOwner(nanoseconds: UInt64) -> Bool {
        enable()
        return sleep(nanoseconds: nanoseconds) != -EEXIST
    }

    /// Submits, then sleeps until there is a completion or the time has passed.
    func wait(nanoseconds: UInt64) {
        enable()
        checkThread(sleep(nanoseconds: nanoseconds))
    }

    private func sleep(nanoseconds: UInt64) -> Int32 {
        var timeout = __kernel_timespec(
            tv_sec: Int64(nanoseconds / 1_000_000_000), tv_nsec: Int64(nanoseconds % 1_000_000_000))
        var entry: UnsafeMutablePointer<io_uring_cqe>?
        systemCalls += 1
        return unsafe io_uring_submit_and_wait_timeout(ring, &entry, 1, &timeout, nil)
    }
}
