// The connection between the two processes of a benchmark: framed messages over a stream socket.

internal import CLinux
internal import RayCore
internal import RayFabric

/// Sends and receives control messages, each with a 32-bit length before it. Every wait has a deadline.
struct ControlChannel: ~Copyable {
    let socket: FileDescriptor

    /// - Parameter socket: a connected stream socket.
    init(_ socket: consuming FileDescriptor) { self.socket = socket }

    func send(_ message: ControlMessage) throws(FabricError) {
        var bytes = [UInt8](repeating: 0, count: ControlLimits.messageBytes)
        let count = Self.encode(message, into: &bytes)
        var rest = bytes[0..<count]
        while !rest.isEmpty {
            let sent = unsafe rest.withUnsafeBytes {
                unsafe CLinux.send(socket.number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if sent < 0, rf_errno() == EINTR { continue }
            guard sent > 0 else { throw Self.gone(rf_errno()) }
            rest = rest.dropFirst(sent)
        }
    }

    /// - Returns: the length of the frame.
    private static func encode(_ message: ControlMessage, into bytes: inout [UInt8]) -> Int {
        var length = 0
        do {
            var span = bytes.mutableSpan
            var writer = unsafe WireWriter(span.mutableBytes)
            writer.integer(UInt32(0))
            message.encode(into: &writer)
            length = writer.count
        }
        for index in 0..<4 { bytes[index] = UInt8(truncatingIfNeeded: (length - 4) >> (8 * index)) }
        return length
    }

    /// A worker that hears nothing for so long is not needed any more.
    static let idleTime = Duration.seconds(600)

    /// Waits until the job that is under way is to end.
    func awaitEnd() throws(FabricError) {
        guard case .end = try receive(by: .now + Self.idleTime) else {
            throw FabricError(.protocolViolation, "a job was begun within another")
        }
    }

    /// The next message.
    /// - Throws: `deadlineExceeded`, `connectionLost`, `notOurProtocol`, and what the other end reports
    ///   as its own failure.
    func receive(by deadline: Timestamp) throws(FabricError) -> ControlMessage {
        let length = try receive(4, by: deadline).reversed().reduce(0) { $0 << 8 | Int($1) }
        guard length > 0, length <= ControlLimits.messageBytes else { throw Self.notOurs }
        let body = try receive(length, by: deadline)
        let message: ControlMessage
        do throws(WireError) {
            var reader = unsafe WireReader(body.span.bytes)
            message = try ControlMessage(from: &reader)
        } catch {
            throw Self.notOurs
        }
        if case .failed(let error) = message { throw error }
        return message
    }

    private func receive(_ count: Int, by deadline: Timestamp) throws(FabricError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            try waitUntilReadable(by: deadline)
            var part = [UInt8](repeating: 0, count: min(count - bytes.count, 64 << 10))
            let received = unsafe part.withUnsafeMutableBytes {
                unsafe recv(socket.number, $0.baseAddress, $0.count, 0)
            }
            if received < 0, rf_errno() == EINTR { continue }
            guard received > 0 else { throw Self.gone(received < 0 ? rf_errno() : 0) }
            bytes += part[0..<received]
        }
        return bytes
    }

    private func waitUntilReadable(by deadline: Timestamp) throws(FabricError) {
        while true {
            let left = (deadline - Timestamp.now).saturatedNanoseconds / 1_000_000
            guard left > 0 else { throw FabricError(.deadlineExceeded, "the other end did not answer in time") }
            var entry = pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0)
            let ready = unsafe poll(&entry, 1, Int32(min(left, 60_000)))
            if ready > 0 { return }
            if ready < 0, rf_errno() != EINTR { throw systemError("wait for the other end") }
        }
    }

    private static func gone(_ errno: Int32) -> FabricError {
        FabricError(.connectionLost, errno: errno, "the other process of the benchmark ended")
    }

    private static var notOurs: FabricError {
        FabricError(.notOurProtocol, "the other end does not speak fabricbench's control protocol")
    }
}
