// RDMA devices inside the process that do what a test says, so that `VerbsTransport` runs on machines
// without any. Queue pairs, memory and events are in the files beside this one.

#if Verbs
    import CVerbs
    import RayCore
    import Synchronization

    @testable import RayFabric

    /// When the devices of a fabric do what they were given.
    enum ScriptedPace: Sendable, Hashable {
        /// While it is posted.
        case atOnce
        /// A few steps of random queue pairs whenever somebody polls; all of it when somebody goes to sleep.
        case late(seed: UInt64)
    }

    /// What exists on a fabric.
    struct ScriptedResources: Hashable, Sendable {
        var contexts = 0
        var domains = 0
        var regions = 0
        var windows = 0
        var channels = 0
        var queues = 0
        var pairs = 0
        var eventChannels = 0
        var identifiers = 0

        static let none = ScriptedResources()
    }

    /// Devices that reach each other. Device 0 has the address 127.0.0.1, device 1 has 127.0.0.2, and so on.
    ///
    /// All calls are safe from any thread.
    final class ScriptedFabric: @unchecked Sendable {
        // SAFETY: all that changes is used with the lock held: by the functions of the table, which take
        // it first, and by those below that begin with `locked`.
        private let lock = Mutex(())
        let pace: ScriptedPace
        private(set) var devices: [ScriptedAdapter] = []
        var resources = ScriptedResources()
        var regions: [UInt32: ScriptedRegion] = [:]
        var windows: [UInt32: ScriptedWindow] = [:]
        var queues: [UInt32: ScriptedQueue] = [:]
        var channels: [Int32: ScriptedChannel] = [:]
        /// In the order in which they were made, so that a seed replays.
        var pairs: [ScriptedQueuePair] = []
        var eventChannels: [ScriptedEventChannel] = []
        var identifiers: [ScriptedIdentifier] = []
        /// What the connection manager is going to tell.
        var managerNews: [ScriptedNews] = []
        var random: SeededRandom
        private var lastNumber: UInt32 = 0

        // What the test has said.
        var isHeld = false
        var losesFlushes = false
        var lockedMemoryLimit = Int.max
        let hasWindows: Bool
        var refusesWindows = false
        var joinFault: ScriptedJoinFault?
        var joinFaultDevice: Int?
        private var postsLeft = Int.max
        private var failures: [Int: ibv_wc_status] = [:]

        // What the test wants to know.
        var lockedMemory = 0
        var registrationsMade = 0
        var registrationsRefused = 0
        private var requestsDone = 0
        private var faults: [String] = []
        private var receiversNotReady = 0

        /// - Parameter windows: whether parts of regions can be opened.
        init(devices count: Int = 1, pace: ScriptedPace = .atOnce, windows: Bool = true) {
            self.pace = pace
            hasWindows = windows
            if case .late(let seed) = pace {
                random = SeededRandom(seed: seed)
            } else {
                random = SeededRandom(seed: 0)
            }
            let prefix = scriptedMachine.freshName()
            devices = (0..<count).map { ScriptedAdapter("\(prefix)d\($0)", address: [127, 0, 0, UInt8($0 + 1)]) }
            scriptedMachine.join(self)
        }

        deinit { scriptedMachine.leave(ObjectIdentifier(self)) }

        /// What a transport takes its devices from.
        var provider: VerbsProvider {
            VerbsProvider(
                library: { () throws(FabricError) in
                    scriptedChannels.expect(self)
                    return VerbsLibrary(scriptedTable(), manager: scriptedManagerTable())
                },
                ports: { _ in self.locked { self.devices.map(\.port) } })
        }

        func locked<Value>(_ body: () -> Value) -> Value {
            var value: Value?
            lock.withLock { _ in value = body() }
            guard let value else { preconditionFailure("the body has run") }
            return value
        }

        // MARK: For tests: what has happened

        /// What exists now.
        var existing: ScriptedResources { locked { resources } }
        /// Regions that were ever registered.
        var registrations: Int { locked { registrationsMade } }
        /// How many bytes each window opens, and whether for reading only.
        var openWindows: [(length: Int, isReadOnly: Bool)] {
            locked {
                windows.values.filter(\.isOpen).sorted { $0.number < $1.number }
                    .map { ($0.length, $0.access == RF_VERBS_REMOTE_READ) }
            }
        }
        /// Regions that peers can reach as a whole.
        var openRegions: Int {
            locked { regions.values.count { $0.access & (RF_VERBS_REMOTE_READ | RF_VERBS_REMOTE_WRITE) != 0 } }
        }
        /// Those that would have locked more memory than is allowed.
        var refusedRegistrations: Int { locked { registrationsRefused } }
        /// What the user of the fabric did wrong: limits not kept, queues that ran over, calls out of order.
        var complaints: [String] { locked { faults } }
        /// Messages that found no receive.
        var notReady: Int { locked { receiversNotReady } }
        /// Requests whose bytes have moved, or that were failed by the script.
        var requests: Int { locked { requestsDone } }
        /// Requests whose bytes have moved, by the device that they were posted to.
        var requestsByDevice: [Int] { locked { devices.map(\.requestsMoved) } }
        /// Requests that are posted and have not come back.
        var outstanding: Int { locked { pairs.reduce(0) { $0 + $1.requests.count } } }

        // MARK: For tests: what shall happen

        /// Nothing moves and nothing completes until `release`, but what an error flushes.
        func hold() { locked { isHeld = true } }

        func release() {
            locked {
                isHeld = false
                passAtOnce()
            }
        }

        /// Queue pairs take so many more requests; what is beyond them is refused with ENOMEM.
        func refusePosts(after count: Int) { locked { postsLeft = count } }

        /// The request that moves as number `number` from now on, from 1, fails.
        func fail(request number: Int, with status: ibv_wc_status) {
            locked { failures[requestsDone + number] = status }
        }

        /// Windows are opened and closed no more.
        func refuseWindows() { locked { refusesWindows = true } }

        /// Requests that an error flushes do not come back.
        func loseFlushes() { locked { losesFlushes = true } }

        /// Queue pairs that are connected from now on meet with this: all, or those that connect from one device.
        func failJoins(_ fault: ScriptedJoinFault?, ofDevice index: Int? = nil) {
            locked { (joinFault, joinFaultDevice) = (fault, index) }
        }

        /// The port that the connection manager listens at; it is one.
        var listeningService: UInt16 {
            locked { identifiers.first { $0.state == .listening }?.service ?? 0 }
        }

        /// What is known of the identifiers of a device, as the connection manager tells it.
        func tellIdentifiers(ofDevice index: Int, _ type: rdma_cm_event_type) {
            locked {
                for identifier in identifiers where identifier.device === devices[index] {
                    announce(type, to: identifier)
                }
            }
        }

        /// So many bytes may be registered in all.
        func limitLockedMemory(to bytes: Int) { locked { lockedMemoryLimit = bytes } }

        /// Every queue pair of a device fails, as if its peer did not answer any more. The peer's ends
        /// hear of nothing: what they send is not answered.
        func breakPairs(ofDevice index: Int) {
            locked {
                for pair in pairs where pair.device === devices[index] { fail(pair, IBV_WC_RETRY_EXC_ERR) }
                passAtOnce()
            }
        }

        /// Some queue pairs fail, by the order in which they were made.
        func breakPairs(_ range: Range<Int>) {
            locked {
                for pair in pairs[range] { fail(pair, IBV_WC_RETRY_EXC_ERR) }
                passAtOnce()
            }
        }

        /// A device dies: it says so, refuses everything, and nothing comes of what it had to do.
        /// - Parameter polls: what polling it gives from then on: 0, or an error.
        func loseDevice(_ index: Int, polls: Int32 = 0) {
            locked {
                devices[index].pollsWhenLost = polls
                devices[index].isLost = true
                devices[index].raise(IBV_EVENT_DEVICE_FATAL)
                announceRemoval(of: devices[index])
                passAtOnce()
            }
        }

        /// The link of a device goes down: nothing passes any more.
        func failPort(ofDevice index: Int) {
            locked {
                devices[index].port.state = "DOWN"
                devices[index].raise(IBV_EVENT_PORT_ERR)
                passAtOnce()
            }
        }

        // MARK: For the devices; the lock is held

        func complain(_ text: String) { faults.append(text) }
        func countReceiverNotReady() { receiversNotReady += 1 }

        /// A number that nothing else on the fabric has.
        func freshNumber() -> UInt32 {
            lastNumber += 1
            return lastNumber
        }

        /// Whether one more request may be posted.
        func takesPost() -> Bool {
            guard postsLeft > 0 else { return false }
            postsLeft -= 1
            return true
        }

        /// Counts a request that is about to move.
        /// - Returns: the status with which the script wants it to fail.
        func countRequest(of device: ScriptedAdapter) -> ibv_wc_status? {
            requestsDone += 1
            device.requestsMoved += 1
            return failures.removeValue(forKey: requestsDone)
        }

        // MARK: Time

        /// Somebody polls.
        func passSome() {
            if pace != .atOnce { pass(Int.random(in: 0...6, using: &random)) }
        }

        /// Somebody has given the devices something to do.
        func passAtOnce() {
            if pace == .atOnce { pass(.max) }
        }

        /// Lets so many things happen, or all that can.
        func pass(_ count: Int) {
            var left = count
            while left > 0 {
                let isTold = !managerNews.isEmpty && Bool.random(using: &random) && tellNext()
                guard isTold || advanceAny() || tellNext() else { return }
                left -= 1
            }
        }

        private func advanceAny() -> Bool {
            guard !pairs.isEmpty else { return false }
            let first = Int.random(in: 0..<pairs.count, using: &random)
            return (0..<pairs.count).contains { advance(pairs[(first + $0) % pairs.count]) }
        }
    }

    /// All fabrics of the process: libibverbs has one list of devices.
    let scriptedMachine = ScriptedMachine()

    @safe
    final class ScriptedMachine: Sendable {
        private struct Member {
            let identity: ObjectIdentifier
            weak var fabric: ScriptedFabric?
        }

        private struct State {
            var members: [Member] = []
            var names = 0
            /// Lists that were handed out keep their devices alive.
            var lists: [UInt: [ScriptedFabric]] = [:]
        }

        private let state = Mutex(State())

        /// What the names of the devices of a fabric begin with: there is one list of them all.
        func freshName() -> String {
            state.withLock { state in
                state.names += 1
                return "scripted\(state.names)"
            }
        }

        func join(_ fabric: ScriptedFabric) {
            state.withLock { $0.members.append(Member(identity: ObjectIdentifier(fabric), fabric: fabric)) }
        }

        /// Looks at no other fabric: with the lock held this could be the last to let go of one.
        func leave(_ fabric: ObjectIdentifier) { state.withLock { $0.members.removeAll { $0.identity == fabric } } }

        /// All devices, ended by nil.
        func deviceList(
            _ count: UnsafeMutablePointer<Int32>?
        ) -> UnsafeMutablePointer<UnsafeMutablePointer<ibv_device>?>? {
            let fabrics = state.withLock { $0.members.compactMap(\.fabric) }
            let devices = fabrics.flatMap(\.devices)
            let list = UnsafeMutablePointer<UnsafeMutablePointer<ibv_device>?>.allocate(capacity: devices.count + 1)
            for (index, device) in devices.enumerated() { unsafe (list + index).initialize(to: device.pointer) }
            unsafe (list + devices.count).initialize(to: nil)
            unsafe count?.pointee = Int32(devices.count)
            let key = UInt(bitPattern: list)
            state.withLock { $0.lists[key] = fabrics }
            return unsafe list
        }

        func freeList(_ list: UnsafeMutablePointer<UnsafeMutablePointer<ibv_device>?>) {
            let key = UInt(bitPattern: list)
            let kept = state.withLock { $0.lists.removeValue(forKey: key) }
            precondition(kept != nil, "a list of devices that was not given out")
            unsafe list.deallocate()
        }

        /// The fabric of a device in a list, and the device.
        func find(_ pointer: UnsafeMutablePointer<ibv_device>) -> (ScriptedFabric, ScriptedAdapter)? {
            let fabrics = state.withLock { $0.members.compactMap(\.fabric) }
            for fabric in fabrics {
                if let device = fabric.devices.first(where: { unsafe $0.pointer == pointer }) {
                    return (fabric, device)
                }
            }
            return nil
        }
    }
#endif
