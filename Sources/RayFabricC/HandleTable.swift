// What handles stand for: slots with generations, so that a handle that has ended is recognised for ever after.
// No lock and no allocation to insert, use or end one, but for a thread's first and every 256th that is open at a time.

internal import CRayFabric
internal import Synchronization

/// The things of one kind that have a handle. Any thread may call anything.
///
/// Values are protected while they are used: by a count of users, or, where handles live long and are used often, by
/// announcements, which only `closeAnnounced` looks at.
///
/// A handle is a generation, the index of a slot and the kind. A slot's state is its generation, odd while the
/// handle is open; a bit for "ends as soon as nobody uses it"; and the number of those who use it now. All three
/// change together, in one atomic word. Who comes with an old handle only reads it.
///
/// A thread keeps the slot that it freed last for the handle that it opens next, as its spare.
@safe
final class HandleTable<Value: ~Copyable>: SpareOwner, @unchecked Sendable {
    // SAFETY: `chunks` has a pointer for each chunk, set once under `growth` and never freed; a chunk is as many slots,
    // each with its value behind it. A slot's value is written by whoever took the slot from a free list, before the
    // state says that it is open, and is destroyed by the one who ended the generation. Others read it only between
    // `enter` and `exit`, or while they announce the slot.
    private let kind: UInt
    private let chunks: UnsafeMutablePointer<Atomic<UInt>>
    private let freeLists: UnsafeMutablePointer<FreeList>
    private let growth = Mutex<Int>(0)

    /// What is before each value.
    private struct Slot: ~Copyable {
        let state = Atomic<UInt>(0)
        /// The next free slot's index and one; 0 at the end.
        let next = Atomic<UInt32>(0)
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

    /// - Parameter kind: 1 to 7, different for each table.
    init(kind: UInt) {
        precondition(0 < kind && kind < ThreadRecord.kindCount && MemoryLayout<Value>.alignment <= 16)
        self.kind = kind
        unsafe chunks = .allocate(capacity: Self.chunkCount)
        for index in 0..<Self.chunkCount { unsafe (chunks + index).initialize(to: Atomic(0)) }
        unsafe freeLists = .allocate(capacity: Self.freeListCount)
        for index in 0..<Self.freeListCount { unsafe (freeLists + index).initialize(to: FreeList()) }
    }

    // MARK: Handles

    /// Gives a value a handle; nil, and the value's end, when there are too many.
    func insert(_ value: consuming Value) -> OpaquePointer? {
        guard let index = takeSpare() ?? takeFree() else { return nil }
        let slot = unsafe slot(index)
        unsafe Self.value(of: slot).initialize(to: consume value)
        return unsafe open(slot, index)
    }

    /// Gives a handle to a value that is made where it stays; nil, and no value, when there are too many.
    /// - Parameter make: initialises the memory that it gets, or throws and does not.
    @inline(__always)
    func insert<Failure: Error>(
        making make: (UnsafeMutablePointer<Value>) throws(Failure) -> Void
    ) throws(Failure) -> OpaquePointer? {
        guard let index = takeSpare() ?? takeFree() else { return nil }
        let slot = unsafe slot(index)
        do throws(Failure) {
            try unsafe make(Self.value(of: slot))
        } catch {
            free(index)
            throw error
        }
        return unsafe open(slot, index)
    }

    /// Begins the generation of a slot that has its value.
    @inline(__always)
    private func open(_ slot: UnsafeMutablePointer<Slot>, _ index: Int) -> OpaquePointer? {
        // Nobody else changes the state of a free slot. Releasing: pairs with the acquiring of those who use it.
        let state = unsafe slot.pointee.state.load(ordering: .relaxed) + State.generation
        unsafe slot.pointee.state.store(state, ordering: .releasing)
        return unsafe OpaquePointer(bitPattern: state | UInt(index) << 4 | kind)
    }

    /// Calls `body` with the value of a handle.
    /// - Throws: `invalid` when the handle is not open.
    @inline(__always)
    func use<Result: ~Copyable, Failure: Error>(
        _ handle: OpaquePointer?, else invalid: @autoclosure () -> Failure,
        _ body: (borrowing Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard let slot = unsafe enter(handle) else { throw invalid() }
        defer { unsafe exit(slot, Self.index(handle)) }
        return try body(unsafe Self.value(of: slot).pointee)
    }

    /// As `use`, without a locked operation; for handles that end with `closeAnnounced`.
    @inline(__always)
    func useAnnounced<Result: ~Copyable, Failure: Error>(
        _ handle: OpaquePointer?, else invalid: @autoclosure () -> Failure,
        _ body: (borrowing Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard let (slot, generation) = unsafe find(handle) else { throw invalid() }
        guard let thread = unsafe ThreadRecords.current,
            unsafe thread.pointee.announcement.begin(UInt(bitPattern: slot))
        else { return try unsafe use(handle, else: invalid(), body) }
        defer {
            if unsafe thread.pointee.announcement.end(UInt(bitPattern: slot)) { unsafe exit(slot, Self.index(handle)) }
        }
        // Acquiring: pairs with the releasing in `open`.
        guard Self.isOpen(unsafe slot.pointee.state.load(ordering: .acquiring), generation) else { throw invalid() }
        return try body(unsafe Self.value(of: slot).pointee)
    }

    /// As `close`, also for those who use the value by `useAnnounced`. Dear: all running threads are interrupted.
    func closeAnnounced(_ handle: OpaquePointer?) -> Bool {
        guard let (slot, generation) = unsafe find(handle) else { return false }
        var state = unsafe slot.pointee.state.load(ordering: .relaxed)
        while Self.isOpen(state, generation) {
            // As one who uses it, until all others are counted.
            let result = unsafe slot.pointee.state.weakCompareExchange(
                expected: state, desired: (state | State.ending) + 1, ordering: .acquiringAndReleasing)
            if result.exchanged {
                let isComplete = ThreadRecords.shared.countUsers(of: UInt(bitPattern: slot)) { change in
                    _ = unsafe slot.pointee.state.wrappingAdd(UInt(bitPattern: change), ordering: .relaxed)
                }
                // Else somebody may use the value unseen: it stays for ever.
                if isComplete { unsafe exit(slot, Self.index(handle)) }
                return true
            }
            state = result.original
        }
        return false
    }

    /// Ends a handle. Its value goes now, or with the last one that uses it.
    /// - Returns: whether it was open.
    @inline(__always)
    func close(_ handle: OpaquePointer?) -> Bool {
        guard let (slot, generation) = unsafe find(handle) else { return false }
        var state = unsafe slot.pointee.state.load(ordering: .relaxed)
        while Self.isOpen(state, generation) {
            let isUsed = state & State.users != 0
            let ended = isUsed ? state | State.ending : state &+ State.generation
            // Acquiring: what others did with the value comes before its end.
            let result = unsafe slot.pointee.state.weakCompareExchange(
                expected: state, desired: ended, ordering: .acquiringAndReleasing)
            if result.exchanged {
                if !isUsed { unsafe reclaim(slot, Self.index(handle)) }
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
        guard result.exchanged else { return nil }
        let value = unsafe Self.value(of: slot).move()
        unsafe free(slot, Self.index(handle))
        return value
    }

    @inline(__always)
    private static func isOpen(_ state: UInt, _ generation: UInt) -> Bool {
        state / State.generation == generation && state & State.ending == 0
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
        guard let slots = unsafe UnsafeMutableRawPointer(bitPattern: chunk) else { return nil }
        return unsafe (Self.slot(index, slots), bits / State.generation)
    }

    @inline(__always)
    private func enter(_ handle: OpaquePointer?) -> UnsafeMutablePointer<Slot>? {
        guard let (slot, generation) = unsafe find(handle) else { return nil }
        var state = unsafe slot.pointee.state.load(ordering: .relaxed)
        while Self.isOpen(state, generation) {
            // Acquiring: pairs with the releasing in `open`.
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
        unsafe reclaim(slot, index)
    }

    /// Ends the value of a slot whose generation has ended, and frees the slot.
    @inline(__always)
    private func reclaim(_ slot: UnsafeMutablePointer<Slot>, _ index: Int) {
        unsafe Self.value(of: slot).deinitialize(count: 1)
        unsafe free(slot, index)
    }

    // MARK: Free slots

    /// Bytes from one slot to the next, the value's among them.
    @inline(__always)
    private static var stride: Int { (valueOffset + MemoryLayout<Value>.size + 15) & ~15 }
    @inline(__always)
    private static var valueOffset: Int { 16 }

    @inline(__always)
    private static func slot(_ index: Int, _ chunk: UnsafeMutableRawPointer) -> UnsafeMutablePointer<Slot> {
        unsafe (chunk + (index & (chunkSlots - 1)) * stride).assumingMemoryBound(to: Slot.self)
    }

    @inline(__always)
    private static func value(of slot: UnsafeMutablePointer<Slot>) -> UnsafeMutablePointer<Value> {
        unsafe (UnsafeMutableRawPointer(slot) + valueOffset).assumingMemoryBound(to: Value.self)
    }

    @inline(__always)
    private func slot(_ index: Int) -> UnsafeMutablePointer<Slot> {
        let chunk = unsafe chunks[index >> Self.chunkShift].load(ordering: .acquiring)
        guard let slots = unsafe UnsafeMutableRawPointer(bitPattern: chunk) else {
            preconditionFailure("slot \(index) is in no chunk")
        }
        return unsafe Self.slot(index, slots)
    }

    @inline(__always)
    private func takeSpare() -> Int? {
        guard let thread = unsafe ThreadRecords.current else { return nil }
        return unsafe thread.pointee.takeSpare(kind, of: self)
    }

    /// Frees a slot whose value has ended.
    @inline(__always)
    private func free(_ slot: UnsafeMutablePointer<Slot>, _ index: Int) {
        // A slot that has had all generations is done with: an old handle would fit again.
        if unsafe slot.pointee.state.load(ordering: .relaxed) != 0 { free(index) }
    }

    @inline(__always)
    private func free(_ index: Int) {
        if let thread = unsafe ThreadRecords.current, unsafe thread.pointee.keepSpare(index, kind, of: self) { return }
        giveBack(index)
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
            let slots = UnsafeMutableRawPointer.allocate(
                byteCount: Self.chunkSlots * Self.stride, alignment: 16)
            for index in 0..<Self.chunkSlots {
                unsafe (slots + index * Self.stride).initializeMemory(as: Slot.self, to: Slot())
            }
            unsafe chunks[made].store(UInt(bitPattern: slots), ordering: .releasing)
            made += 1
            return (made - 1) * Self.chunkSlots
        }
    }
}
