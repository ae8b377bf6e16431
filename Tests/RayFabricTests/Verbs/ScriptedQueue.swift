// Completion queues of scripted devices, and the descriptors that tell of them.

#if Verbs
    import CVerbs

    /// A completion channel.
    @safe
    final class ScriptedChannel {
        // SAFETY: valid from init to deinit, which `destroy_comp_channel` brings about.
        let pointer: UnsafeMutablePointer<ibv_comp_channel>
        private let signal = ScriptedSignal()
        private var events: [ScriptedQueue] = []
        /// Completion queues that use it.
        var users = 0

        init(_ context: UnsafeMutablePointer<ibv_context>) {
            unsafe pointer = .allocate(capacity: 1)
            unsafe pointer.initialize(to: ibv_comp_channel())
            unsafe pointer.pointee.context = context
            unsafe pointer.pointee.fd = signal.descriptor
        }

        deinit {
            unsafe pointer.deinitialize(count: 1)
            unsafe pointer.deallocate()
        }

        func raise(_ queue: ScriptedQueue) {
            events.append(queue)
            signal.raise()
        }

        /// A queue goes, and with it what nobody has read of it.
        func leave(_ queue: ScriptedQueue) {
            users -= 1
            let unread = events.count { $0 === queue }
            events.removeAll { $0 === queue }
            for _ in 0..<unread { _ = ScriptedSignal.take(signal.descriptor) }
        }

        func takeEvent() -> ScriptedQueue {
            let queue = events.removeFirst()
            queue.unacknowledged += 1
            return queue
        }
    }

    /// A completion queue.
    @safe
    final class ScriptedQueue {
        private struct Entry {
            var completion: ibv_wc
            var pair: ScriptedQueuePair
            /// The request's place among those of its queue pair; nil for a receive.
            var request: Int?
        }

        // SAFETY: valid from init to deinit, which `destroy_cq` brings about.
        let pointer: UnsafeMutablePointer<ibv_cq>
        let fabric: ScriptedFabric
        private let channel: ScriptedChannel?
        private let capacity: Int
        private var entries: [Entry] = []
        private var isArmed = false
        var unacknowledged = 0
        /// Queue pairs that use it; one that uses it for both directions counts twice.
        var users = 0

        init(
            _ context: ScriptedContext, capacity: Int, user: UnsafeMutableRawPointer?, channel: ScriptedChannel?
        ) {
            fabric = context.fabric
            self.capacity = capacity
            self.channel = channel
            unsafe pointer = .allocate(capacity: 1)
            unsafe pointer.initialize(to: ibv_cq())
            unsafe pointer.pointee.context = context.pointer
            unsafe pointer.pointee.channel = channel?.pointer
            unsafe pointer.pointee.cq_context = user
            unsafe pointer.pointee.handle = fabric.freshNumber()
            unsafe pointer.pointee.cqe = Int32(capacity)
            channel?.users += 1
        }

        deinit {
            unsafe pointer.deinitialize(count: 1)
            unsafe pointer.deallocate()
        }

        /// Lets go of what it holds, and the channel of it.
        func end() {
            entries = []
            channel?.leave(self)
        }

        func append(_ completion: ibv_wc, of pair: ScriptedQueuePair, request: Int?) {
            guard entries.count < capacity else {
                return fabric.complain("a completion queue of \(capacity) ran over")
            }
            entries.append(Entry(completion: completion, pair: pair, request: request))
            guard isArmed else { return }
            isArmed = false
            channel?.raise(self)
        }

        func arm() { isArmed = true }

        /// Hands out completions. With them places in the queues of the pairs become free.
        func poll(_ count: Int, _ completions: UnsafeMutablePointer<ibv_wc>) -> Int {
            let taken = min(count, entries.count)
            for (index, entry) in entries[..<taken].enumerated() {
                unsafe completions[index] = entry.completion
                if let request = entry.request {
                    entry.pair.retired = request + 1
                } else {
                    entry.pair.receivesOut -= 1
                }
            }
            entries.removeFirst(taken)
            return taken
        }
    }
#endif
