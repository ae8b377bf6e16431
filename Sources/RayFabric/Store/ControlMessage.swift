// The store's control protocol over the Unix socket: what is rare, slow or passes descriptors.

internal import RayCore

/// A client's request. The host answers each with one reply, in order.
enum ControlRequest: Equatable {
    /// First message of a client: its name for listings.
    case hello(name: String)
    /// A descriptor of a segment's memory; writable only for its lessee.
    case map(segment: Int, writable: Bool)
    /// Take all commands that were written before this.
    case synchronise
    /// What holds the memory, in words.
    case holders
    case usage
    /// Objects from an entry on.
    case inspect(from: Int)

    static let protocolVersion: UInt16 = 1
    static let magic: UInt32 = 0x5246_4154
    static let maximumBytes = 512
    static let maximumNameBytes = 64

    func encoded() -> [UInt8] {
        encode(limit: Self.maximumBytes) { writer in
            switch self {
            case .hello(let name):
                writer.integer(UInt8(1))
                writer.integer(Self.magic)
                writer.integer(Self.protocolVersion)
                writer.string(.printable(name, maximumBytes: Self.maximumNameBytes))
            case .map(let segment, let writable):
                writer.integer(UInt8(2))
                writer.integer(UInt32(segment))
                writer.integer(UInt8(writable ? 1 : 0))
            case .synchronise: writer.integer(UInt8(3))
            case .holders: writer.integer(UInt8(4))
            case .usage: writer.integer(UInt8(5))
            case .inspect(let from):
                writer.integer(UInt8(6))
                writer.integer(UInt32(from))
            }
        }
    }

    init(decoding bytes: RawSpan) throws(WireError) {
        var reader = WireReader(bytes)
        switch try reader.uint8() {
        case 1:
            guard try reader.uint32() == Self.magic, try reader.uint16() == Self.protocolVersion else {
                throw .malformed
            }
            self = .hello(name: try reader.string(limit: Self.maximumNameBytes))
        case 2: self = .map(segment: Int(try reader.uint32()), writable: try reader.uint8() == 1)
        case 3: self = .synchronise
        case 4: self = .holders
        case 5: self = .usage
        case 6: self = .inspect(from: Int(try reader.uint32()))
        default: throw .malformed
        }
        try reader.finish()
    }
}

/// The host's reply.
enum ControlReply: Equatable {
    /// Attached. With descriptors: directory, ledger, mailbox, doorbell, notification.
    case welcome(client: Int, worker: WorkerID)
    case refused(FabricError.Code, String)
    /// With one descriptor.
    case mapped(generation: UInt64)
    case done
    case text(String)
    case usage(StoreUsage)
    case objects([ObjectDescription], next: Int?)

    static let maximumBytes = 64 << 10
    static let maximumTextBytes = 32 << 10
    static let objectsPerPage = 128
    static let pinsPerObject = 32

    func encoded() -> [UInt8] {
        encode(limit: Self.maximumBytes) { writer in
            switch self {
            case .welcome(let client, let worker):
                writer.integer(UInt8(1))
                writer.integer(UInt32(client))
                writer.workerID(worker)
            case .refused(let code, let text):
                writer.integer(UInt8(2))
                writer.integer(code.rawValue)
                writer.string(.printable(text, maximumBytes: Self.maximumTextBytes))
            case .mapped(let generation):
                writer.integer(UInt8(3))
                writer.integer(generation)
            case .done: writer.integer(UInt8(4))
            case .text(let text):
                writer.integer(UInt8(5))
                writer.string(.printable(text, maximumBytes: Self.maximumTextBytes))
            case .usage(let usage):
                writer.integer(UInt8(6))
                for value in [
                    usage.capacity, usage.primaryBytes, usage.secondaryBytes, usage.objects, usage.evictions,
                    usage.refusals, usage.duplicates, usage.readyBytes,
                ] { writer.integer(value) }
            case .objects(let objects, let next):
                writer.integer(UInt8(7))
                writer.integer(next.map { UInt32($0) } ?? .max)
                writer.integer(UInt16(objects.count))
                for object in objects { object.encode(to: &writer) }
            }
        }
    }

    init(decoding bytes: RawSpan) throws(WireError) {
        var reader = WireReader(bytes)
        switch try reader.uint8() {
        case 1: self = .welcome(client: Int(try reader.uint32()), worker: try reader.workerID())
        case 2:
            let code = FabricError.Code(rawValue: try reader.uint16())
            guard FabricError.Code.all.contains(code) else { throw .malformed }
            self = .refused(code, try reader.string(limit: Self.maximumTextBytes))
        case 3: self = .mapped(generation: try reader.uint64())
        case 4: self = .done
        case 5: self = .text(try reader.string(limit: Self.maximumTextBytes))
        case 6:
            var usage = StoreUsage()
            usage.capacity = try reader.uint64()
            usage.primaryBytes = try reader.uint64()
            usage.secondaryBytes = try reader.uint64()
            usage.objects = try reader.uint64()
            usage.evictions = try reader.uint64()
            usage.refusals = try reader.uint64()
            usage.duplicates = try reader.uint64()
            usage.readyBytes = try reader.uint64()
            self = .usage(usage)
        case 7:
            let next = try reader.uint32()
            var objects: [ObjectDescription] = []
            for _ in 0..<(try reader.uint16()) { objects.append(try ObjectDescription(decoding: &reader)) }
            self = .objects(objects, next: next == .max ? nil : Int(next))
        default: throw .malformed
        }
        try reader.finish()
    }
}

private func encode(limit: Int, _ body: (inout WireWriter) -> Void) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: limit)
    var written = 0
    do {
        var span = bytes.mutableSpan
        // SAFETY: any bytes are valid UInt8 values.
        var writer = WireWriter(unsafe span.mutableBytes)
        body(&writer)
        written = writer.count
    }
    return Array(bytes[..<written])
}

extension String {
    /// As much of a stranger's text as fits, without what could mislead a reader or a terminal.
    static func printable(_ text: String, maximumBytes: Int) -> String {
        var result = String.UnicodeScalarView()
        var bytes = 0
        for scalar in text.unicodeScalars {
            let shown: Unicode.Scalar =
                switch scalar.properties.generalCategory {
                case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned: "?"
                default: scalar
                }
            bytes += UTF8.width(shown)
            if bytes > maximumBytes { break }
            result.append(shown)
        }
        return String(result)
    }
}
