// Settings of a fabric from a structure, the environment and a file.

internal import CRayFabric
internal import Glibc
internal import RayCore
internal import RayFabric

/// What may come from more than one place.
struct Settings {
    var capacity: ByteCount?
    var path: String?
    var listen: String?
    var key: [UInt8]?
    var transport: TransportChoice?

    /// From the structure, then from the environment if the structure says so, then from the file that either names.
    init(_ options: rf_fabric_options) throws(FabricError) {
        let known = UInt32(RF_OPEN_ENVIRONMENT | RF_OPEN_NETWORK)
        guard unsafe options.flags & ~known == 0, unsafe options.reserved == 0 else {
            throw FabricError(.invalidArgument, unsafe "flags \(options.flags), reserved \(options.reserved)")
        }
        if unsafe options.capacity > 0 { capacity = unsafe .bytes(Int(clamping: options.capacity)) }
        path = try unsafe string(options.path, "path")
        listen = try unsafe string(options.listen, "listen")
        let given = unsafe try bytes(options.key, options.key_size, "key")
        if given.count > 0 { key = unsafe Array(given) }
        transport = unsafe try Self.transport(options.transport)
        var file = try unsafe string(options.file, "file")
        if unsafe options.flags & UInt32(RF_OPEN_ENVIRONMENT) != 0 {
            for name in Self.names {
                if let value = Self.environment("RAYFABRIC_" + name.uppercased()) { try add(name, value) }
            }
            file = file ?? Self.environment("RAYFABRIC_FILE")
        }
        if let file { try add(file) }
    }

    private static var names: [String] { ["capacity", "path", "listen", "key", "transport"] }

    private static func environment(_ name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// Adds a setting, unless it is there.
    private mutating func add(_ name: String, _ value: String) throws(FabricError) {
        switch name {
        case "capacity": if capacity == nil { capacity = try Self.capacity(value) }
        case "path": path = path ?? value
        case "listen": listen = listen ?? value
        case "key": key = key ?? Array(value.utf8)
        case "transport": if transport == nil { transport = try Self.transport(value) }
        default: throw FabricError(.invalidArgument, "\(name) is no setting; \(Self.names) are")
        }
    }

    // MARK: Values

    private static func capacity(_ text: String) throws(FabricError) -> ByteCount {
        let units: [(String, (Int) -> ByteCount)] = [
            ("KiB", ByteCount.kibibytes), ("MiB", ByteCount.mebibytes), ("GiB", ByteCount.gibibytes),
            ("", ByteCount.bytes),
        ]
        for (unit, make) in units where text.hasSuffix(unit) {
            if let number = Int(text.dropLast(unit.count)), number > 0 { return make(number) }
        }
        throw FabricError(.invalidArgument, "a capacity of \(text); 1048576, 64KiB, 512MiB or 8GiB is one")
    }

    private static func transport(_ number: Int32) throws(FabricError) -> TransportChoice? {
        switch Int(number) {
        case RF_TRANSPORT_DEFAULT: nil
        case RF_TRANSPORT_URING: .uring
        case RF_TRANSPORT_URING_OR_NIO: .uringOrNIO
        case RF_TRANSPORT_NIO: .nio
        case RF_TRANSPORT_VERBS: .verbs
        case RF_TRANSPORT_VERBS_OR_URING: .verbsOrUring
        default: throw FabricError(.invalidArgument, "transport \(number)")
        }
    }

    private static func transport(_ name: String) throws(FabricError) -> TransportChoice {
        switch name {
        case "uring": .uring
        case "uring-or-nio": .uringOrNIO
        case "nio": .nio
        case "verbs": .verbs
        case "verbs-or-uring": .verbsOrUring
        default: throw FabricError(.invalidArgument, "\(name) is no transport")
        }
    }

    // MARK: The file

    private static var mostFileBytes: Int { 64 << 10 }

    private mutating func add(_ file: String) throws(FabricError) {
        let (text, isPrivate) = try Self.contents(of: file)
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let fields = line.split(
                maxSplits: 1, omittingEmptySubsequences: true, whereSeparator: { $0 == " " || $0 == "\t" })
            guard let name = fields.first, !name.hasPrefix("#") else { continue }
            guard fields.count == 2 else {
                throw FabricError(.invalidArgument, "\(file), line \(index + 1): a name and a value")
            }
            guard name != "key" || isPrivate else {
                throw FabricError(.permissionDenied, "\(file) holds a key, and others can read it: chmod 600")
            }
            var value = fields[1]
            while let last = value.last, last == " " || last == "\t" || last == "\r" { value.removeLast() }
            do throws(FabricError) {
                try add(String(name), String(value))
            } catch {
                throw FabricError(error.code, "\(file), line \(index + 1): \(error.context)")
            }
        }
    }

    /// The text of a file, and whether only its owner may read it.
    private static func contents(of file: String) throws(FabricError) -> (String, Bool) {
        let number = unsafe Glibc.open(file, O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { throw failure(errno, "open \(file)") }
        defer { _ = close(number) }
        var status = stat()
        guard unsafe fstat(number, &status) == 0 else { throw failure(errno, "read \(file)") }
        var bytes = [UInt8](repeating: 0, count: mostFileBytes + 1)
        var count = 0
        while count < bytes.count {
            let got = unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe read(number, buffer.baseAddress.map { unsafe $0 + count }, buffer.count - count)
            }
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw failure(errno, "read \(file)") }
            if got == 0 { break }
            count += got
        }
        guard count <= mostFileBytes else {
            throw FabricError(.invalidArgument, "\(file) has more than \(mostFileBytes) bytes")
        }
        return (String(decoding: bytes.prefix(count), as: UTF8.self), status.st_mode & 0o077 == 0)
    }

    private static func failure(_ number: Int32, _ context: String) -> FabricError {
        let error = systemError(number, context)
        return error.code == .system ? FabricError(.invalidArgument, errno: number, context) : error
    }
}
