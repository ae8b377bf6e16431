// The roofs of network transports: the shortest loops over one TCP socket that do the same work.

internal import CLinux
internal import RayCore
internal import RayFabric

/// A connected socket that is never waited for: both ends spin.
private struct SpinningSocket: ~Copyable {
    let socket: FileDescriptor
    private let deadline: Timestamp
    private var spins = 0
    private static let bufferBytes: Int32 = 2 << 20
    private static let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)

    init(_ socket: consuming FileDescriptor, deadline: Timestamp) {
        _ = rf_set_option(socket.number, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        SocketOptions.unpaceWithinMachine(socket.number)
        self.socket = socket
        self.deadline = deadline
    }

    /// Large buffers, as a stream of megabytes needs them.
    func enlargeBuffers() {
        _ = rf_set_option(socket.number, SOL_SOCKET, SO_SNDBUF, Self.bufferBytes)
        _ = rf_set_option(socket.number, SOL_SOCKET, SO_RCVBUF, Self.bufferBytes)
    }

    /// - Returns: bytes sent; 0 when there is no room now.
    @inline(__always)
    mutating func send(_ bytes: UnsafeRawBufferPointer) throws(FabricError) -> Int {
        let count = unsafe CLinux.send(socket.number, bytes.baseAddress, bytes.count, Self.flags)
        return count >= 0 ? count : try spun()
    }

    /// - Returns: bytes received; 0 when there are none now; nil at the end of the stream.
    @inline(__always)
    mutating func receive(_ bytes: UnsafeMutableRawBufferPointer) throws(FabricError) -> Int? {
        let count = unsafe recv(socket.number, bytes.baseAddress, bytes.count, Self.flags)
        if count > 0 { return count }
        return count == 0 ? nil : try spun()
    }

    private mutating func spun() throws(FabricError) -> Int {
        guard rf_errno() == EAGAIN || rf_errno() == EINTR else { throw systemError("measure the raw socket") }
        spins &+= 1
        if spins % 65536 == 0, Timestamp.now >= deadline {
            throw FabricError(.deadlineExceeded, "the raw socket's other end is silent")
        }
        return 0
    }

    mutating func sendAll(_ bytes: UnsafeRawBufferPointer) throws(FabricError) {
        var sent = 0
        while sent < bytes.count { sent += try unsafe send(UnsafeRawBufferPointer(rebasing: bytes[sent...])) }
    }

    /// - Returns: false at the end of the stream.
    mutating func receiveAll(_ bytes: UnsafeMutableRawBufferPointer) throws(FabricError) -> Bool {
        var received = 0
        while received < bytes.count {
            guard let count = try unsafe receive(UnsafeMutableRawBufferPointer(rebasing: bytes[received...])) else {
                return false
            }
            received += count
        }
        return true
    }

    func endSending() { _ = shutdown(socket.number, RF_SHUT_WR) }
}

/// `size` bytes to and fro.
struct SocketLatencyRoof: ~Copyable {
    private var socket: SpinningSocket
    private let settings: WorkSettings
    private let memory: AnonymousMemory

    init(_ socket: consuming FileDescriptor, _ settings: WorkSettings) throws(FabricError) {
        let memory = try AnonymousMemory(byteCount: settings.size)
        self.socket = SpinningSocket(
            socket, deadline: .now + settings.warmup + settings.duration + .seconds(10))
        self.settings = settings
        self.memory = memory
    }

    private var payload: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(rebasing: memory.bytes[0..<settings.size])
    }

    /// The end that takes the time.
    consuming func ask() throws(FabricError) -> Report {
        let clock = CycleClock.shared
        let from = CycleClock.now &+ clock.cycles(settings.warmup)
        let until = from &+ clock.cycles(settings.duration)
        var histogram = LatencyHistogram()
        let payload = unsafe payload
        while true {
            let start = CycleClock.now
            try unsafe socket.sendAll(UnsafeRawBufferPointer(payload))
            guard try unsafe socket.receiveAll(payload) else {
                throw FabricError(.connectionLost, "the raw socket's other end closed")
            }
            let end = CycleClock.now
            if start >= from { histogram.record(cycles: end &- start) }
            if end >= until { break }
        }
        socket.endSending()
        return Report(operations: histogram.count, latency: histogram)
    }

    /// The end that answers until the other one has enough.
    consuming func answer() throws(FabricError) -> Report {
        let payload = unsafe payload
        while try unsafe socket.receiveAll(payload) {
            try unsafe socket.sendAll(UnsafeRawBufferPointer(payload))
        }
        return Report()
    }
}

/// A stream in operations of 1 MiB over buffers of the same size as the benchmark's.
struct SocketBandwidthRoof: ~Copyable {
    private static let operationBytes = 1 << 20
    private var socket: SpinningSocket
    private let settings: WorkSettings
    private let memory: AnonymousMemory
    private let ringBytes: Int

    init(_ socket: consuming FileDescriptor, _ settings: WorkSettings) throws(FabricError) {
        let ring = settings.usesWrites ? settings.slots * settings.slotBytes : 0
        let ringBytes = max(ring / Self.operationBytes, 1) * Self.operationBytes
        let memory = try AnonymousMemory(byteCount: ringBytes)
        self.socket = SpinningSocket(
            socket, deadline: .now + settings.warmup + settings.duration + .seconds(10))
        self.socket.enlargeBuffers()
        self.settings = settings
        self.ringBytes = ringBytes
        self.memory = memory
    }

    /// The end that sends until the receiver says stop.
    consuming func send() throws(FabricError) -> Report {
        var window = SendWindow()
        var offset = 0
        var mark: UInt8 = 0
        while !window.isStopped {
            let end = min(offset + Self.operationBytes, ringBytes)
            offset += try unsafe socket.send(UnsafeRawBufferPointer(rebasing: memory.bytes[offset..<end]))
            if offset == ringBytes { offset = 0 }
            let marked = try unsafe withUnsafeMutableBytes(of: &mark) { bytes throws(FabricError) in
                try unsafe socket.receive(bytes)
            }
            guard let marked else { throw FabricError(.connectionLost, "the raw socket's other end closed") }
            if marked > 0, let kind = MessageKind(rawValue: mark) { window.mark(kind) }
        }
        socket.endSending()
        return window.report
    }

    /// The end that receives, counts and tells the sender when to stop.
    consuming func receive() throws(FabricError) -> Report {
        var window = ReceiveWindow(settings)
        var inspector = PayloadInspector(touch: settings.touch, verify: false, seed: 0)
        var offset = 0
        while true {
            let end = min(offset + Self.operationBytes, ringBytes)
            let target = unsafe UnsafeMutableRawBufferPointer(rebasing: memory.bytes[offset..<end])
            guard let count = try unsafe socket.receive(target) else { break }
            if count > 0 {
                unsafe inspector.touch(
                    RawSpan(_unsafeBytes: UnsafeRawBufferPointer(rebasing: target[0..<count])))
            }
            window.count(UInt64(count))
            offset = offset + count == ringBytes ? 0 : offset + count
            switch window.tick() {
            case .begin: try tell(.begin)
            case .stop: try tell(.stop)
            case nil: break
            }
        }
        var report = window.report(size: 1)
        report.record(inspector)
        return report
    }

    private mutating func tell(_ kind: MessageKind) throws(FabricError) {
        var byte = kind.rawValue
        try unsafe withUnsafeBytes(of: &byte) { bytes throws(FabricError) in try unsafe socket.sendAll(bytes) }
    }
}
