// Waiting for several descriptors at once.

internal import CLinux
package import RayCore

/// An epoll instance. Level-triggered; each descriptor has a tag. One thread waits at a time.
package struct EventPoll: ~Copyable, Sendable {
    private let epoll: FileDescriptor

    package init() throws(FabricError) {
        let number = epoll_create1(RF_EPOLL_FLAGS)
        guard number >= 0 else { throw systemError("create an epoll instance") }
        epoll = FileDescriptor(owning: number)
    }

    /// Reports `tag` when the descriptor is readable or its peer has hung up. Closing the last
    /// descriptor of a file takes it out.
    package func add(_ descriptor: Int32, tag: UInt64) throws(FabricError) {
        guard rf_epoll_add(epoll.number, descriptor, tag) == 0 else { throw systemError("watch a descriptor") }
    }

    /// Waits for at most `timeout` milliseconds, without limit if negative.
    /// - Returns: the number of tags written to the front of `tags`, at most 64.
    package func wait(timeout: Int32, tags: inout InlineArray<64, UInt64>) -> Int {
        var span = tags.mutableSpan
        return unsafe span.withUnsafeMutableBufferPointer { buffer in
            max(0, Int(unsafe rf_epoll_wait(epoll.number, buffer.baseAddress, Int32(buffer.count), timeout)))
        }
    }
}
