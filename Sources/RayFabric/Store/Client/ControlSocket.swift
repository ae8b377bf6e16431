// The client's end of the control protocol.

internal import CLinux
internal import RayCore

/// Sends a request, waits for its reply.
struct ControlSocket: ~Copyable, Sendable {
    private let socket: UnixSocket
    /// The host still owes the reply to a request that was given up: it comes before the next one's.
    private var owesReply = false

    init(_ socket: consuming UnixSocket) { self.socket = socket }

    var descriptor: Int32 { socket.descriptor.number }

    /// - Returns: the reply and its descriptors, which the caller closes.
    /// - Throws: `hostLost` when the host is gone, `peerUnresponsive` when it has not answered by then.
    mutating func exchange(
        _ request: ControlRequest, by deadline: Timestamp
    ) throws(FabricError) -> (ControlReply, [Int32]) {
        if owesReply { _ = OwnedDescriptors(try receive(by: deadline).descriptors) }
        do throws(FabricError) {
            try socket.send(request.encoded())
        } catch {
            // A refused client finds the reason in its queue.
            if error.code != .connectionLost { throw error }
        }
        let (bytes, descriptors) = try receive(by: deadline)
        do {
            // SAFETY: any bytes are valid UInt8 values.
            return (try ControlReply(decoding: unsafe bytes.span.bytes), descriptors)
        } catch {
            _ = OwnedDescriptors(descriptors)
            throw FabricError(.protocolViolation, "the host's reply cannot be read: \(error)")
        }
    }

    private mutating func receive(
        by deadline: Timestamp
    ) throws(FabricError) -> (bytes: [UInt8], descriptors: [Int32]) {
        owesReply = false
        while true {
            switch try socket.receive(limit: ControlReply.maximumBytes, wait: false) {
            case .message(let bytes, let descriptors): return (bytes, descriptors)
            case .end: throw FabricError(.hostLost, "the store's host has closed the connection")
            case .none: break
            }
            let rest = (deadline - .now).saturatedNanoseconds
            guard rest > 0 else {
                owesReply = true
                throw FabricError(.peerUnresponsive, "the store's host does not answer")
            }
            _ = rf_wait_readable(socket.descriptor.number, rest)
        }
    }

    /// Makes the host and the watcher see the end.
    func shutDown() { _ = shutdown(socket.descriptor.number, RF_SHUT_RDWR) }
}

/// Descriptors, closed unless taken.
package final class OwnedDescriptors {
    private var numbers: [Int32]

    init(_ numbers: [Int32]) { self.numbers = numbers }

    deinit { for number in numbers where number >= 0 { _ = close(number) } }

    var count: Int { numbers.count }
    subscript(index: Int) -> Int32 { numbers[index] }

    func add(_ number: Int32) { numbers.append(number) }

    func release(_ index: Int) -> Int32 {
        defer { numbers[index] = -1 }
        return numbers[index]
    }

    /// Size of the file behind a descriptor.
    func byteCount(_ index: Int) throws(FabricError) -> Int {
        var status = stat()
        guard unsafe fstat(numbers[index], &status) == 0 else { throw systemError("look at shared memory") }
        return Int(status.st_size)
    }
}
