// The encoding of control messages. Numbers from the other end are checked against `ControlLimits`.

internal import RayCore
internal import RayFabric

extension ControlMessage {
    private enum Kind: UInt8 { case hello = 1, begin, ready, report, failed, end }

    @_lifetime(writer: copy writer)
    func encode(into writer: inout WireWriter) {
        switch self {
        case .hello(let version):
            writer.integer(Kind.hello.rawValue)
            writer.integer(version)
        case .begin(let job):
            writer.integer(Kind.begin.rawValue)
            job.encode(into: &writer)
        case .ready(let address, let first):
            writer.integer(Kind.ready.rawValue)
            writer.string(address.description)
            writer.optionalID(first)
        case .end: writer.integer(Kind.end.rawValue)
        case .report(let report):
            writer.integer(Kind.report.rawValue)
            report.encode(into: &writer)
        case .failed(let error):
            writer.integer(Kind.failed.rawValue)
            writer.integer(error.code.rawValue)
            writer.integer(error.errno)
            writer.string(String(error.context.prefix(ControlLimits.textBytes / 4)))
        }
    }

    init(from reader: inout WireReader) throws(WireError) {
        guard let kind = Kind(rawValue: try reader.uint8()) else { throw .malformed }
        switch kind {
        case .hello: self = .hello(version: try reader.uint16())
        case .begin: self = .begin(try Job(from: &reader))
        case .ready:
            let text = try reader.string(limit: ControlLimits.textBytes)
            guard let address = try? Address(parsing: text) else { throw .malformed }
            self = .ready(address, first: try reader.optionalID())
        case .end: self = .end
        case .report: self = .report(try Report(from: &reader))
        case .failed:
            let code = FabricError.Code(rawValue: try reader.uint16())
            let errno = try reader.integer(Int32.self)
            let context = try reader.string(limit: ControlLimits.textBytes)
            self = .failed(FabricError(code, errno: errno, context))
        }
        try reader.finish()
    }
}

extension Job {
    @_lifetime(writer: copy writer)
    func encode(into writer: inout WireWriter) {
        writer.integer(work.rawValue)
        writer.integer(UInt8(TransportKind.allCases.firstIndex(of: transport) ?? 0))
        settings.encode(into: &writer)
        writer.integer(UInt32(lanes))
        // SAFETY: every byte of an array is initialised.
        unsafe writer.countedBytes(key.span.bytes)
        writer.integer(Int32(cpu ?? -1))
        objects.encode(into: &writer)
    }

    init(from reader: inout WireReader) throws(WireError) {
        guard let work = Work(rawValue: try reader.uint8()) else { throw .malformed }
        let kind = Int(try reader.uint8())
        guard TransportKind.allCases.indices.contains(kind) else { throw .malformed }
        self.work = work
        transport = TransportKind.allCases[kind]
        settings = try WorkSettings(from: &reader)
        lanes = try reader.bounded(1...ControlLimits.lanes)
        key = []
        for _ in 0..<(try reader.bounded(16...64)) { key.append(try reader.uint8()) }
        let cpu = try reader.integer(Int32.self)
        self.cpu = cpu >= 0 ? Int(cpu) : nil
        objects = try ObjectWork(from: &reader)
    }
}

extension ObjectWork {
    @_lifetime(writer: copy writer)
    func encode(into writer: inout WireWriter) {
        writer.integer(UInt8(Operation.allCases.firstIndex(of: operation) ?? 0))
        writer.integer(UInt32(count))
        writer.integer(UInt32(clients))
        writer.string(path)
        writer.optionalID(first)
    }

    init(from reader: inout WireReader) throws(WireError) {
        self.init()
        let number = Int(try reader.uint8())
        guard Operation.allCases.indices.contains(number) else { throw .malformed }
        operation = Operation.allCases[number]
        count = try reader.bounded(1...ControlLimits.objects)
        clients = try reader.bounded(1...ControlLimits.clients)
        path = try reader.string(limit: ControlLimits.textBytes)
        first = try reader.optionalID()
    }
}

extension WorkSettings {
    private enum Flags {
        static let usesWrites: UInt8 = 1
        static let bidirectional: UInt8 = 2
        static let touch: UInt8 = 4
        static let verify: UInt8 = 8
        static let injectsCorruption: UInt8 = 16
    }

    @_lifetime(writer: copy writer)
    func encode(into writer: inout WireWriter) {
        writer.integer(UInt32(size))
        writer.integer(UInt32(streams))
        var flags: UInt8 = 0
        if usesWrites { flags |= Flags.usesWrites }
        if bidirectional { flags |= Flags.bidirectional }
        if touch { flags |= Flags.touch }
        if verify { flags |= Flags.verify }
        if injectsCorruption { flags |= Flags.injectsCorruption }
        writer.integer(flags)
        writer.integer(wait.rawValue)
        writer.integer(warmup.saturatedNanoseconds)
        writer.integer(duration.saturatedNanoseconds)
        writer.integer(seed)
    }

    init(from reader: inout WireReader) throws(WireError) {
        self.init()
        size = try reader.bounded(1...ControlLimits.payloadBytes)
        streams = try reader.bounded(1...ControlLimits.streams)
        let flags = try reader.uint8()
        usesWrites = flags & Flags.usesWrites != 0
        bidirectional = flags & Flags.bidirectional != 0
        touch = flags & Flags.touch != 0
        verify = flags & Flags.verify != 0
        injectsCorruption = flags & Flags.injectsCorruption != 0
        guard let wait = WaitMode(rawValue: try reader.uint8()) else { throw .malformed }
        self.wait = wait
        warmup = try reader.duration()
        duration = try reader.duration()
        seed = try reader.uint64()
    }
}

extension Report {
    @_lifetime(writer: copy writer)
    func encode(into writer: inout WireWriter) {
        writer.integer(operations)
        writer.integer(bytes)
        writer.integer(nanoseconds.bitPattern)
        writer.integer(processorNanoseconds.bitPattern)
        writer.integer(corrupted)
        writer.integer(checksum)
        writer.integer(memoryGrown)
        let entries = latency?.entries ?? []
        writer.integer(UInt32(entries.count))
        for entry in entries {
            writer.integer(entry.cycles)
            writer.integer(entry.count)
        }
    }

    init(from reader: inout WireReader) throws(WireError) {
        self.init()
        operations = try reader.uint64()
        bytes = try reader.uint64()
        nanoseconds = try reader.finiteDouble()
        processorNanoseconds = try reader.finiteDouble()
        corrupted = try reader.uint64()
        checksum = try reader.uint64()
        memoryGrown = try reader.uint64()
        let count = try reader.bounded(0...ControlLimits.histogramEntries)
        guard count > 0 else { return }
        var histogram = LatencyHistogram()
        for _ in 0..<count { histogram.record(cycles: try reader.uint64(), count: try reader.uint64()) }
        latency = histogram
    }
}

extension WireWriter {
    @_lifetime(self: copy self)
    fileprivate mutating func optionalID(_ id: ObjectID?) {
        integer(UInt8(id == nil ? 0 : 1))
        if let id { objectID(id) }
    }
}

extension WireReader {
    fileprivate mutating func optionalID() throws(WireError) -> ObjectID? {
        try uint8() == 0 ? nil : try objectID()
    }

    /// A 32-bit number within a range.
    fileprivate mutating func bounded(_ range: ClosedRange<Int>) throws(WireError) -> Int {
        let value = Int(try uint32())
        guard range.contains(value) else { throw .malformed }
        return value
    }

    fileprivate mutating func duration() throws(WireError) -> Duration {
        let nanoseconds = try integer(Int64.self)
        guard (0...ControlLimits.seconds * 1_000_000_000).contains(nanoseconds) else { throw .malformed }
        return .nanoseconds(nanoseconds)
    }

    fileprivate mutating func finiteDouble() throws(WireError) -> Double {
        let value = Double(bitPattern: try uint64())
        guard value.isFinite, value >= 0 else { throw .malformed }
        return value
    }
}
