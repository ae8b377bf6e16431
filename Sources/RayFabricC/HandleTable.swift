// What handles stand for: slots with generations, so that a handle that has ended is recognised for ever after.
// No lock and no allocation to insert, use or end one, but for a thread's first and every 256th that is open at a time.

internal import CRayFabric
internal import Synchronization

/// The things of one kind that have a handle. Any thread may call anything.
///
/// A handle is a generation, the index of a slot and the kind. A slot's state is its generation, odd while the
/// handle is open; a bit for "ends as soon as nobody uses it"; and the number of those who use it now. All three
/// change together, in one atomic word. Who comes with an old handle only reads it.
///
/// A thread keeps the slot that it freed last for the handle that it opens next, as its spare.
@safe
final class HandleTable<Value: ~Copyable>: SpareOwner, @unchecked Sendable {
    // SAFETY: `chunks` has a pointer for each chunk, set once under `growth` and never freed. A slot's value is
    // written by whoever took the slot from a free list, before the state says that it is open, and is destroyed
    // by the one who ended the generation. Others read it only between `enter` and `exit`.
    private let kind: UInt
    private let chunks: UnsafeMutablePointer<Atomic<UInt>>
    private let freeLists: UnsafeMutablePointer<FreeList>
    private let growth = Mutex<Int>(0)
    private let spares: SpareSlots

    private struct Slot: ~Copyable {
        let state = Atomic<UInt>(0)
        /// The next free slot's index and one; 0 at the end.
        let next = Atomic<UInt32>(0)
        var value: Value?
    }

    /// Free slots as a stack: a count of its changes, and the index and one of its top. On a cache line of its own.
    private struct FreeList: ~Copyable {
        let top = Atomic<UInt64>(0)
        let padding: InlineArray<7, UInt64> = InlineArray(repeating: 0)
    }

    private enum State {
        static var generation: UInt { 1 << 24 }
        static var ending: UInt { 1 << 23 }
        static var users: UInt { ending - 1 }
    }

    /// Slots of a chunk, as a power of two: cheaper for signed numbers than a division.
    private static var chunkShift: Int { 8 }
    private static var chunkSlots: Int { 1 << chunkShift }
    private static var chunkCount: Int { Int(RF_MAXIMUM_HANDLES) >> chunkShift }
    private static var freeListCount: Int { 8 }

    /// - Parameter kind: 1 to 15, different for each table.
    init(kind: UInt) {
        self.kind = kind
        unsafe chunks = .allocate(capacity: Self.chunkCount)
        for index in 0..<Self.chunkCount { unsafe (chunks + index).initialize(to: Atomic(0)) }
        unsafe freeLists = .allocate(capacity: Self.freeListCount)
        for index in 0..<Self.freeListCount { unsafe (freeLists + index).initialize(to: FreeList()) }
        spares = SpareSlots()
    }

    // MARK: Handles

    /// Gives a value a handle; nil, and the value's end, when there are too many.
    @inline(__always)
    func insert(_ value: consuming Value) -> OpaquePointer? {
        guard let index = spares.take() ?? takeFree() else { return nil }
        let slot = unsafe slot(index)
        // SAFETY: slots stay where they are, and a free one has no value that would have to end.
        let place = unsafe withUnsafeMutablePointer(to: &slot.pointee.value) { unsafe $0 }
        unsafe place.initialize(to: consume value)
        // Nobody else changes the state of a free slot. Releasing: pairs with the acquiring in `enter`.
        let state = unsafe slot.pointee.state.load(ordering: .relaxed) + State.generation
        unsafe slot.pointee.state.store(state, ordering: .releasing)
        return unsafe OpaquePointer(bitPattern: state | UInt(index) << 4 | kind)
    }

    /// Calls `body` with the value of a handle; nil when the handle is not open.
    @inline(__always)
    func use<Result: ~Copyable, Failure: Error>(
        _ handle: OpaquePointer?, _ body: (borrowing Value) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        guard let slot = unsafe enter(handle) else { return nil }
        defer { unsafe exit(slot, Self.index(handle)) }
        switch unsafe slot.pointee.value {
        case .some(let value): return try body(value)
        case .none: preconditionFailure("an open handle has no value")
        }
    }

    /// Ends a handle. Its value goes now, or with the last one that uses it.
    /// - Returns: whether it was open.
    @inline(__always)
    func close(_ handle: OpaquePointer?) -> Bool {
        guard let (slot, generation) = unsafe find(handle) else { return false }
        var state = unsafe slot.pointee.state.load(ordering: .relaxed)
        while state / State.generation == generation, state & State.ending == 0 {
            let isUsed = state & State.users != 0
            let ended = isUsed ? state | State.ending : state &+ State.generation
            // Acquiring: what others did with the value comes before its end.
            let result = unsafe slot.pointee.state.weakCompareExchange(
                expected: state, desired: ended, ordering: .acquiringAndReleasing)
            if result.exchanged {
                if !isUsed { _ = unsafe reclaim(slot, Self.index(handle)) }
                return true
            }
            state = result.original
        }
        return false
    }

    /// Ends a handle whose value nothing ever `use`s, and takes the value; nil when it is not open.
    @inline(__always)
    func take(_ handle: OpaquePointer?) -> Value? {
        guard let (slot, generation) = unsafe find(handle) else { return nil }
        let open = generation * State.generation
        let result = unsafe slot.pointee.state.compareExchange(
            expected: open, desired: open &+ State.generation, ordering: .acquiringAndReleasing)
        return result.exchanged ? unsafe reclaim(slot, Self.index(handle)) : nil
    }

    private static func index(_ handle: OpaquePointer?) -> Int {
        Int((UInt(bitPattern: handle) % State.generation) >> 4)
    }

    /// The slot that a handle names, and the generation that the slot must have.
    @inline(__always)
    private func find(_ handle: OpaquePointer?) -> (UnsafeMutablePointer<Slot>, UInt)? {
        let bits = UInt(bitPattern: handle)
        let index = unsafe Self.index(handle)
        // Free slots have even generations, handles odd ones.
        guard bits & 15 == kind, index < Int(RF_MAXIMUM_HANDLES), bits & State.generation != 0 else { return nil }
        // Acquiring: pairs with the releasing in `grow`.
        let chunk = unsafe chunks[index >> Self.chunkShift].load(ordering: .acquiring)
        guard let slots = unsafe UnsafeMutablePointer<Slot>(bitPattern: chunk) else { return nil }
        return unsafe (slots + index & (Self.chunkSlots - 1), bits / State.generation)
    }

    @inline(__always)
    private func enter(_ handle: OpaquePointer?) -> UnsafeMutablePointer<Slot>? {
        guard let (slot, generation) = unsafe find(handle) else { return nil }
        var state = unsafe slot.pointee.state.load(ordering: .relaxed)
        while state / State.generation == generation, state & State.ending == 0 {
            // Acquiring: pairs with the releasing in `insert`.
            let result = unsafe slot.pointee.state.weakCompareExchange(
                expected: state, desired: state + 1, ordering: .acquiring)
            if result.exchanged { return unsafe slot }
            state = result.original
        }
        return nil
    }

    @inline(__always)
    private func exit(_ slot: UnsafeMutablePointer<Slot>, _ index: Int) {
        // Releasing: what was done with the value comes before its end. Acquiring: the last one ends it.
        let state = unsafe slot.pointee.state.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue
        if state & (State.ending | State.users) == State.ending { unsafe end(slot, index, state) }
    }

    /// Ends the value of a slot for the last one who used it: nobody enters any more.
    @inline(never)
    private func end(_ slot: UnsafeMutablePointer<Slot>, _ index: Int, _ state: UInt) {
        unsafe slot.pointee.state.store((state & ~State.ending) &+ State.generation, ordering: .relaxed)
        _ = unsafe reclaim(slot, index)
    }

    /// Takes the value out of a slot whose generation has ended, and frees the slot.
    @inline(__always)
    private func reclaim(_ slot: UnsafeMutablePointer<Slot>, _ index: Int) -> Value? {
        let value = unsafe slot.pointee.value.take()
        // A slot that has had all generations is done with: an old handle would fit again.
        let isWornOut = unsafe slot.pointee.state.load(ordering: .relaxed) == 0
        if !isWornOut, !spares.keep(index, for: self) { giveBack(index) }
        return value
    }

    // MARK: Free slots

    private func slot(_ index: Int) -> UnsafeMutablePointer<Slot> {
        let chunk = unsafe chunks[index >> Self.chunkShift].load(ordering: .acquiring)
        guard let slots = unsafe UnsafeMutablePointer<Slot>(bitPattern: chunk) else {
            preconditionFailure("slot \(index) is in no chunk")
        }
        return unsafe slots + index & (Self.chunkSlots - 1)
    }

    /// A slot of the thread's list, of another one, or a new one; nil when all there may be are open.
    @inline(never)
    private func takeFree() -> Int? {
        let list = Int(rayfabric_thread_number())
        for step in 0..<Self.freeListCount {
            if let index = takeFree((list + step) % Self.freeListCount) { return index }
        }
        guard let first = grow() else { return nil }
        for index in (first + 1)..<(first + Self.chunkSlots) { giveBack(index) }
        return first
    }

    private func takeFree(_ list: Int) -> Int? {
        var top = unsafe freeLists[list].top.load(ordering: .acquiring)
        while let index = Int(exactly: top & 0xffff_ffff), index > 0 {
            let next = unsafe slot(index - 1).pointee.next.load(ordering: .relaxed)
            // The count of changes tells this top from the same slot's next time at the top.
            let result = unsafe freeLists[list].top.weakCompareExchange(
                expected: top, desired: (top >> 32 &+ 1) << 32 | UInt64(next), ordering: .acquiringAndReleasing)
            if result.exchanged { return index - 1 }
            top = result.original
        }
        return nil
    }

    override func giveBack(_ index: Int) {
        let slot = unsafe slot(index)
        let list = Int(rayfabric_thread_number()) % Self.freeListCount
        var top = unsafe freeLists[list].top.load(ordering: .relaxed)
        while true {
            unsafe slot.pointee.next.store(UInt32(truncatingIfNeeded: top), ordering: .relaxed)
            let result = unsafe freeLists[list].top.weakCompareExchange(
                expected: top, desired: (top >> 32 &+ 1) << 32 | UInt64(index + 1), ordering: .acquiringAndReleasing)
            if result.exchanged { return }
            top = result.original
        }
    }

    /// Makes another chunk of slots.
    /// - Returns: the index of its first one.
    private func grow() -> Int? {
        growth.withLock { made in
            guard made < Self.chunkCount else { return nil }
            let slots = UnsafeMutablePointer<Slot>.allocate(capacity: Self.chunkSlots)
            for index in 0..<Self.chunkSlots { unsafe (slots + index).initialize(to: Slot(value: nil)) }
            unsafe chunks[made].store(UInt(bitPattern: slots), ordering: .releasing)
            made += 1
            return (made - 1) * Self.chunkSlots
        }
    }
}
