// The list of the suite: what every transport has to show. The tests are in Conformance+*.swift.

import RayFabric
import Testing

/// One test of the contract.
enum ConformanceTest: String, CaseIterable, Sendable, CustomTestStringConvertible {
    // Connecting.
    case connects, refused, unanswered, wrongKey, missingKey, invalidAddress, addressInUse
    case newIncarnation, oldIncarnation, reconnect, connectionLimit, peerLimit, ownLimit, halfOpenLimit, garbage
    // Messages.
    case messageSizes, messageOrder, messagesBothWays, messageTooLarge, severalConnections, backpressure
    case slowReader
    // One-sided operations.
    case transferSizes, gibibyte, severalRegions, outOfBounds, accessDenied, staleKey, localRange
    case notification, manyOperations, operationLimit, grants, grantLimits
    // Ends.
    case halfClose, finishCompletesOperations, finishedRefusesCalls, peerDeath, closeWithOperations
    case staleConnection, cancelRead, cancelWrite, readDeadline, writeDeadline
    // Time and threads.
    case unresponsivePeer, idleStaysOpen, cutAndHealed, waitDeadline, waker, twoThreads

    var testDescription: String { rawValue }

    /// Runs the test; it fails by an expectation or by throwing.
    func run<Endpoint: Transport & SendableMetatype & ~Copyable>(on fixture: TransportFixture<Endpoint>) throws {
        switch self {
        case .connects: try fixture.connects()
        case .refused: try fixture.refused()
        case .unanswered: try fixture.unanswered()
        case .wrongKey: try fixture.wrongKey()
        case .missingKey: try fixture.missingKey()
        case .invalidAddress: try fixture.invalidAddress()
        case .addressInUse: try fixture.addressInUse()
        case .newIncarnation: try fixture.newIncarnation()
        case .oldIncarnation: try fixture.oldIncarnation()
        case .reconnect: try fixture.reconnect()
        case .connectionLimit: try fixture.connectionLimit()
        case .peerLimit: try fixture.peerLimit()
        case .ownLimit: try fixture.ownLimit()
        case .halfOpenLimit: try fixture.halfOpenLimit()
        case .garbage: try fixture.garbage()
        case .messageSizes: try fixture.messageSizes()
        case .messageOrder: try fixture.messageOrder()
        case .messagesBothWays: try fixture.messagesBothWays()
        case .messageTooLarge: try fixture.messageTooLarge()
        case .severalConnections: try fixture.severalConnections()
        case .backpressure: try fixture.backpressure()
        case .slowReader: try fixture.slowReader()
        case .transferSizes: try fixture.transferSizes()
        case .gibibyte: try fixture.gibibyte()
        case .severalRegions: try fixture.severalRegions()
        case .outOfBounds: try fixture.outOfBounds()
        case .accessDenied: try fixture.accessDenied()
        case .staleKey: try fixture.staleKey()
        case .localRange: try fixture.localRange()
        case .notification: try fixture.notification()
        case .manyOperations: try fixture.manyOperations()
        case .operationLimit: try fixture.operationLimit()
        case .grants: try fixture.grants()
        case .grantLimits: try fixture.grantLimits()
        case .halfClose: try fixture.halfClose()
        case .finishCompletesOperations: try fixture.finishCompletesOperations()
        case .finishedRefusesCalls: try fixture.finishedRefusesCalls()
        case .peerDeath: try fixture.peerDeath()
        case .closeWithOperations: try fixture.closeWithOperations()
        case .staleConnection: try fixture.staleConnection()
        case .cancelRead: try fixture.cancelRead()
        case .cancelWrite: try fixture.cancelWrite()
        case .readDeadline: try fixture.readDeadline()
        case .writeDeadline: try fixture.writeDeadline()
        case .unresponsivePeer: try fixture.unresponsivePeer()
        case .idleStaysOpen: try fixture.idleStaysOpen()
        case .cutAndHealed: try fixture.cutAndHealed()
        case .waitDeadline: try fixture.waitDeadline()
        case .waker: try fixture.waker()
        case .twoThreads: try fixture.twoThreads()
        }
    }
}
