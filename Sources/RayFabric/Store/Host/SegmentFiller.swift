// The background thread that makes memory exist before somebody needs it.

internal import RayCore
internal import Synchronization

/// The memory of one segment.
final class SegmentFile: Sendable {
    let file: MemoryFile
    let generation: UInt64
    init(file: consuming MemoryFile, generation: UInt64) {
        self.file = file
        self.generation = generation
    }
}

/// Creates segments and touches their pages, one after the other, on a thread of its own.
final class SegmentFiller: Sendable {
    private struct State {
        var queue: [Int] = []
        var generation: UInt64 = 0
        var isStopping = false
    }

    private let state = Mutex(State())
    private let waker: Waker
    private let segmentBytes: Int
    /// Called on the filler's thread.
    private let report: @Sendable (Int, Result<SegmentFile, FabricError>) -> Void
    private let thread = Mutex<SystemThread?>(nil)

    init(
        segmentBytes: Int, report: @escaping @Sendable (Int, Result<SegmentFile, FabricError>) -> Void
    ) throws(FabricError) {
        self.segmentBytes = segmentBytes
        self.report = report
        waker = try Waker()
        let started = try SystemThread(name: "fabric-fill") { [self] in run() }
        thread.withLock { $0 = started }
    }

    func fill(_ segment: Int) {
        state.withLock { $0.queue.append(segment) }
        waker.signal()
    }

    /// Ends the thread, at the latest when the step at hand is done.
    func stop() {
        state.withLock { $0.isStopping = true }
        waker.signal()
        thread.withLock { $0.take() }?.join()
    }

    private var isStopping: Bool { state.withLock { $0.isStopping } }

    private func run() {
        while !isStopping {
            guard let (segment, generation) = next() else {
                waker.sleep()
                continue
            }
            report(segment, make(generation: generation))
        }
    }

    private func next() -> (Int, UInt64)? {
        state.withLock { state in
            guard !state.queue.isEmpty else { return nil }
            state.generation += 1
            return (state.queue.removeFirst(), state.generation)
        }
    }

    private func make(generation: UInt64) -> Result<SegmentFile, FabricError> {
        do throws(FabricError) {
            let file = try MemoryFile(name: "fabric-segment", byteCount: segmentBytes)
            try file.populate { isStopping }
            return .success(SegmentFile(file: file, generation: generation))
        } catch {
            return .failure(error)
        }
    }
}
