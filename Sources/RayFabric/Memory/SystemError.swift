// From errno to the errors of the fabric.

internal import CLinux
package import RayCore

/// The error for a system call that has just failed in this thread.
package func systemError(_ context: @autoclosure () -> String) -> FabricError {
    systemError(rf_errno(), context())
}

/// The error for a system call that failed with `number`.
package func systemError(_ number: Int32, _ context: @autoclosure () -> String) -> FabricError {
    FabricError(errorCode(number), errno: number, context())
}

/// The code that says best what `number` means to a user.
package func errorCode(_ number: Int32) -> FabricError.Code {
    switch number {
    case EMFILE, ENFILE: .descriptorLimit
    case ENOMEM, ENOSPC, ENOBUFS: .outOfMemory
    case EACCES, EPERM: .permissionDenied
    case EADDRINUSE: .addressInUse
    case EADDRNOTAVAIL, EAFNOSUPPORT, ENAMETOOLONG: .addressInvalid
    case ECONNREFUSED: .connectionRefused
    case ECONNRESET, EPIPE, ENOTCONN, ECONNABORTED: .connectionLost
    case ETIMEDOUT: .peerUnresponsive
    case ENETUNREACH, EHOSTUNREACH, ENETDOWN: .unreachable
    case ECANCELED: .cancelled
    default: .system
    }
}
