// Requests for leases at whoever answers them: what makes repeated, late and reordered requests harmless.

internal import RayCore

/// A request as it is known here.
struct RequestRecord: Sendable {
    var id: LeaseRequestID
    var attempt: UInt32
    /// Index of the class in the table of its owner.
    var classIndex: Int32
    /// Slots that wait here still.
    var waiting: UInt32
    /// Slots that the log settles.
    var settled: UInt32 = 0
    /// Parts of the log that were sent.
    var sent: UInt32 = 0
    var rejections: UInt8
    var mode: RequestMode
    var isLocalityChoice: Bool
    /// An answer is due at the end of the event.
    var isTouched = false
    /// Which list of its owner the record is in.
    var place = Place.none
    /// Slots among `waiting` that have resources, and wait for a worker.
    var starting: Int32 = 0
    /// Arguments that are not local yet.
    var missing: Int32 = 0
    var submitter: Int32
    var since: Timestamp
    var arguments: [TaskArgument]
    var log: [AnswerPart] = []

    enum Place: UInt8 {
        /// In no list: over, or not placed yet.
        case none
        /// Waits for room here or elsewhere.
        case ready
        /// Waits for room here only.
        case settled
        /// Waits for arguments.
        case pulling
    }
}

/// The requests of all submitters, until they are over and their submitter says so.
struct RequestTable: Sendable {
    /// Requests that are over, but not forgotten, at most.
    static let overLimit = 65_536

    private struct Submitter {
        var id: WorkerID
        var isUsed = true
        /// Requests below are over and forgotten.
        var settledBelow: UInt64 = 0
        var requests = IndexList()
    }

    private(set) var records: [RequestRecord] = []
    private var slots = SlotPool()
    private var recordOfID = IndexMap<LeaseRequestID>()
    private var submitterLinks = LinkTable()
    private var submitters: [Submitter] = []
    private var submitterSlots = SlotPool()
    private var submitterOfID = IndexMap<WorkerID>()
    /// Records that are over, the oldest first.
    private var over = IndexList()
    private var overLinks = LinkTable()
    private var touched = Fifo<Int>()
    /// Slots that wait.
    private(set) var waitingSlots = 0

    subscript(index: Int) -> RequestRecord {
        _read { yield records[index] }
        _modify { yield &records[index] }
    }

    /// What a request is to those who got it.
    enum Admission {
        /// Seen for the first time: to be added.
        case new
        /// A repetition, whose `wanted` may have fallen. Its answer is due.
        case known(Int)
        /// Over long ago, or not a request.
        case stale
    }

    /// Tells what a request is.
    mutating func admit(_ request: LeaseRequest) -> Admission {
        guard request.slots > 0 else { return .stale }
        let submitter = submitterIndex(request.id.submitter)
        forget(below: request.settledBelow, of: submitter)
        guard request.id.sequence >= submitters[submitter].settledBelow else { return .stale }
        guard let index = recordOfID[request.id] else { return .new }
        // An old transmission knows less than a newer one that came before it.
        if request.attempt > records[index].attempt {
            records[index].attempt = request.attempt
            records[index].sent = min(records[index].sent, request.answered)
        }
        touch(index)
        return .known(index)
    }

    /// Takes a new request in. Its answer is due.
    /// - Returns: its index.
    mutating func add(_ request: LeaseRequest, classIndex: Int, now: Timestamp) -> Int {
        let submitter = submitterIndex(request.id.submitter)
        let record = RequestRecord(
            id: request.id, attempt: request.attempt, classIndex: Int32(classIndex), waiting: request.slots,
            rejections: request.rejections, mode: request.mode, isLocalityChoice: request.isLocalityChoice,
            submitter: Int32(submitter), since: now, arguments: request.arguments)
        let index = slots.take()
        if index == records.count { records.append(record) } else { records[index] = record }
        recordOfID.insert(request.id, index)
        submitterLinks.append(index, to: &submitters[submitter].requests)
        waitingSlots += Int(request.slots)
        touch(index)
        return index
    }

    /// Settles slots that waited.
    mutating func settle(_ index: Int, _ part: AnswerPart) {
        let slots = part.slots
        precondition(
            slots > 0 && slots <= records[index].waiting, "\(records[index].id) settles \(slots) slots too many")
        records[index].waiting -= slots
        records[index].settled += slots
        records[index].log.append(part)
        waitingSlots -= Int(slots)
        touch(index)
        guard records[index].waiting == 0 else { return }
        overLinks.append(index, to: &over)
        if over.count > Self.overLimit, let oldest = over.first { remove(oldest) }
    }

    /// The index of a request that is not forgotten.
    func index(of id: LeaseRequestID) -> Int? { recordOfID[id] }

    /// The submitter of a slot.
    func submitter(_ slot: Int) -> WorkerID { submitters[slot].id }

    /// Makes the answer of a request due.
    mutating func touch(_ index: Int) {
        guard !records[index].isTouched else { return }
        records[index].isTouched = true
        touched.append(index)
    }

    /// The next request whose answer is due.
    mutating func nextTouched() -> Int? {
        while let index = touched.popFirst() {
            if records[index].isTouched { return index }
        }
        return nil
    }

    /// The answer of a request, with the parts that were not sent yet. It is not due any more.
    mutating func answer(_ index: Int, reason: WaitReason?) -> LeaseAnswer {
        let first = records[index].sent
        records[index].isTouched = false
        records[index].sent = UInt32(records[index].log.count)
        return LeaseAnswer(
            id: records[index].id, attempt: records[index].attempt, first: first,
            parts: first == 0 ? records[index].log : Array(records[index].log[Int(first)...]),
            waiting: records[index].waiting, reason: reason)
    }

    /// The requests of a submitter that wait, in the order in which they came.
    func waiting(of submitter: WorkerID) -> [Int] {
        guard let index = submitterOfID[submitter] else { return [] }
        return submitterLinks.indices(of: submitters[Int(index)].requests).filter { records[$0].waiting > 0 }
    }

    /// The submitters that are meant, with their slots, in the order of these.
    func submitters(where isMeant: (WorkerID) -> Bool) -> [(slot: Int, id: WorkerID)] {
        submitters.indices.filter { submitters[$0].isUsed && isMeant(submitters[$0].id) }
            .map { (slot: $0, id: submitters[$0].id) }
    }

    /// Forgets a submitter that is dead.
    /// - Precondition: none of its requests waits.
    mutating func forget(_ submitter: WorkerID) {
        guard let index = submitterOfID.remove(submitter) else { return }
        while let request = submitters[index].requests.first { remove(request) }
        submitters[index].isUsed = false
        submitterSlots.give(index)
    }

    private mutating func submitterIndex(_ id: WorkerID) -> Int {
        if let index = submitterOfID[id] { return Int(index) }
        let index = submitterSlots.take()
        if index == submitters.count {
            submitters.append(Submitter(id: id))
        } else {
            submitters[index] = Submitter(id: id)
        }
        submitterOfID.insert(id, index)
        return index
    }

    private mutating func forget(below sequence: UInt64, of submitter: Int) {
        guard sequence > submitters[submitter].settledBelow else { return }
        submitters[submitter].settledBelow = sequence
        // They came in about the order of their sequence: one out of order goes when those before it do.
        while let oldest = submitters[submitter].requests.first, records[oldest].waiting == 0,
            records[oldest].id.sequence < sequence
        {
            remove(oldest)
        }
    }

    private mutating func remove(_ index: Int) {
        precondition(records[index].waiting == 0, "\(records[index].id) waits and is forgotten")
        overLinks.remove(index, from: &over)
        submitterLinks.remove(index, from: &submitters[Int(records[index].submitter)].requests)
        recordOfID.remove(records[index].id)
        records[index].log = []
        records[index].arguments = []
        records[index].isTouched = false
        slots.give(index)
    }
}
