// The part of a socket that runs on the event loop: it moves bytes and decides nothing.

#if NIO
    internal import NIOCore
    internal import RayCore

    /// Puts what a channel reads into the inbox. All calls come from the event loop's thread.
    final class NIOSocketHandler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let socket: UInt64
        private let inbox: NIOInbox
        private let credit: NIOCredit
        private var hasEnded = false

        init(socket: UInt64, inbox: NIOInbox, credit: NIOCredit) {
            self.socket = socket
            self.inbox = inbox
            self.credit = credit
        }

        func channelActive(context: ChannelHandlerContext) { context.read() }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = Self.unwrapInboundIn(data)
            credit.add(bytes.readableBytes)
            inbox.put(.bytes(socket: socket, bytes))
        }

        func channelReadComplete(context: ChannelHandlerContext) {
            if credit.mayRead() { context.read() }
        }

        func channelInactive(context: ChannelHandlerContext) { end(TransportFailure(.connectionLost)) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            end(failure(error))
            context.close(promise: nil)
        }

        private func end(_ failure: TransportFailure) {
            guard !hasEnded else { return }
            hasEnded = true
            inbox.put(.ended(socket: socket, failure))
        }
    }

    /// What an error of NIO means for a connection.
    func failure(_ error: any Error) -> TransportFailure {
        guard let error = error as? IOError else { return TransportFailure(.connectionLost) }
        let code = errorCode(error.errnoCode)
        return TransportFailure(code == .system ? .connectionLost : code, errno: error.errnoCode)
    }
#endif
