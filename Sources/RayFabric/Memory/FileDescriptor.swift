// An owned file descriptor.

internal import CLinux
internal import RayCore

/// Closes its descriptor exactly once, when it goes out of scope.
package struct FileDescriptor: ~Copyable, Sendable {
    /// The number, to be lent to system calls only.
    package let number: Int32

    /// Takes over a descriptor that nobody else will close.
    package init(owning number: Int32) { self.number = number }

    deinit { _ = close(number) }

    /// Gives the number away: the caller closes it.
    package consuming func release() -> Int32 {
        let number = self.number
        discard self
        return number
    }
}
