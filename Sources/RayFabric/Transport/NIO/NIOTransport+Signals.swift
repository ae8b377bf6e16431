// What NIO does to the signals of a process, undone: they are the program's.

#if NIO
    internal import CLinux
    internal import NIOCore
    internal import NIOPosix

    extension NIOTransport {
        /// Keeps all signals from the thread of an event loop, as from all threads of ours.
        static func blockSignals(of group: MultiThreadedEventLoopGroup) {
            // It fails only when the group was shut down.
            try? group.next().submit { rf_block_signals() }.wait()
            _ = dispositionsAreKept
        }

        /// NIO lets the whole process ignore SIGPIPE with its first socket. Its threads block that signal here, so it
        /// makes its first socket now, and the program gets back what it had.
        private static let dispositionsAreKept: Bool = {
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            var before = sigaction()
            unsafe sigaction(SIGPIPE, nil, &before)
            // Without a loopback device there is a socket as well.
            let channel = try? DatagramBootstrap(group: group).bind(host: "127.0.0.1", port: 0).wait()
            try? channel?.close().wait()
            let isKept = unsafe sigaction(SIGPIPE, &before, nil) == 0
            try? group.syncShutdownGracefully()
            return isKept
        }()
    }
#endif
