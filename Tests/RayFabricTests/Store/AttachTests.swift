// What a process gets that attaches to a store, and what it can do with it.

import CLinux
import RayCore
import Testing

@testable import RayFabric

/// A client made of a bare socket, which may send anything.
struct BareClient: ~Copyable {
    let socket: UnixSocket

    init(_ path: String) throws { socket = try UnixSocket.connect(to: path) }

    /// - Returns: the reply with its descriptors; nil when the host has ended the connection.
    func exchange(_ bytes: [UInt8], descriptors: [Int32] = []) throws -> (ControlReply, OwnedDescriptors)? {
        try? socket.send(bytes, descriptors: descriptors)
        return try next()
    }

    func next() throws -> (ControlReply, OwnedDescriptors)? {
        guard case .message(let bytes, let numbers) = try socket.receive(limit: ControlReply.maximumBytes, wait: true)
        else { return nil }
        let files = OwnedDescriptors(numbers)
        return (try ControlReply(decoding: unsafe bytes.span.bytes), files)
    }
}

@Suite struct AttachTests {
    private func makeHost(_ path: String, _ change: (inout StoreConfiguration) -> Void = { _ in }) throws -> Fabric {
        var configuration = FabricConfiguration(capacity: .mebibytes(1), path: path)
        change(&configuration.store)
        return try Fabric(configuration)
    }

    /// Whether the kernel lets this process write to the memory behind a descriptor.
    private func canWrite(_ descriptor: Int32) -> Bool {
        guard let mapping = try? Mapping(descriptor, byteCount: 4096, writable: true) else { return false }
        return mapping.byteCount > 0
    }

    /// Directory and mailbox stay unwritable even for a process of the same user that opens them anew.
    @Test func onlyTheHostWritesDirectoryAndMailbox() throws {
        let path = temporaryPath("writers")
        let host = try makeHost(path)
        let client = try BareClient(path)
        let (reply, files) = try #require(try client.exchange(ControlRequest.hello(name: "bare").encoded()))
        guard case .welcome = reply else { throw FabricError(.attachRefused) }
        try #require(files.count == 5)
        #expect(canWrite(files[1]), "the ledger is the client's own")
        for index in [0, 2] {
            #expect(!canWrite(files[index]))
            let number = unsafe rf_open("/proc/self/fd/\(files[index])", O_RDWR | O_CLOEXEC)
            // Root may open anything; others may not. What is opened can not be written to.
            #expect(number >= 0 || rf_errno() == EACCES)
            guard number >= 0 else { continue }
            let again = FileDescriptor(owning: number)
            #expect(!canWrite(again.number))
            var byte: UInt8 = 1
            #expect(unsafe pwrite(again.number, &byte, 1, 0) < 0)
            #expect(rf_add_seals(again.number, RF_SEAL_FUTURE_WRITE) < 0)
            #expect(ftruncate(again.number, 0) < 0)
        }
        host.close()
    }

    @Test func segmentsAreWritableForTheirLesseeAlone() throws {
        let path = temporaryPath("segments")
        let host = try makeHost(path)
        let id = try host.put([1, 2, 3])
        let held = try host.get(id, within: .seconds(5))
        let segment = Int(held.arenaOffset) / host.client.geometry.segmentBytes
        let client = try BareClient(path)
        _ = try #require(try client.exchange(ControlRequest.hello(name: "bare").encoded()))
        let asked = try client.exchange(ControlRequest.map(segment: segment, writable: true).encoded())
        let (refusal, none) = try #require(asked)
        guard case .refused(.invalidArgument, _) = refusal else { throw FabricError(.protocolViolation) }
        #expect(none.count == 0)
        let (reply, files) = try #require(
            try client.exchange(ControlRequest.map(segment: segment, writable: false).encoded()))
        guard case .mapped = reply else { throw FabricError(.protocolViolation) }
        try #require(files.count == 1)
        #expect(!canWrite(files[0]))
        // Other users of the group can not open it anew.
        var status = stat()
        #expect(unsafe fstat(files[0], &status) == 0)
        #expect(status.st_mode & 0o777 == 0o400)
    }

    @Test func aProcessThatNeverSaysHelloLosesItsPlace() throws {
        let path = temporaryPath("silent")
        let host = try makeHost(path) {
            $0.maximumClients = 2
            $0.attachLimit = .milliseconds(50)
        }
        let silent = try BareClient(path)
        let (reply, _) = try #require(try silent.next())
        #expect(reply == .refused(.deadlineExceeded, "attaching took too long"))
        #expect(try silent.next() == nil)
        let client = try Fabric(attachingTo: path)
        let id = try client.put([1])
        #expect(try host.get(id, within: .seconds(10)).size == 1)
    }

    /// A full directory is reported to the one whose object it does not take.
    @Test(arguments: [1, 100, 3000]) func tooManyObjectsAreReported(most: Int) throws {
        let path = temporaryPath("many")
        let host = try makeHost(path) { $0.maximumObjects = most }
        let client = try Fabric(attachingTo: path)
        var ids: [ObjectID] = []
        for round in 0..<2 {
            for _ in ids.count..<most { ids.append(try client.put([])) }
            do throws(FabricError) {
                _ = try client.put([1])
                Issue.record("one object too many in round \(round)")
            } catch {
                #expect(error.code == .tooManyObjects)
            }
            #expect(try host.usage().objects == UInt64(most))
            for id in ids.prefix(50) { try client.delete(id) }
            ids.removeFirst(min(50, ids.count))
        }
    }

    @Test func namesOfStrangersAreFitToBeShown() throws {
        let path = temporaryPath("names")
        let host = try makeHost(path)
        let name = "\u{1b}[31mroot\n\u{202e}\u{1F469}" + String(repeating: "\u{1F469}\u{200D}\u{1F467}", count: 50)
        let client = try Fabric(attachingTo: path, name: name)
        _ = try client.put([1])
        guard case .text(let holders) = try host.client.ask(.holders) else { throw FabricError(.protocolViolation) }
        #expect(holders.contains("; ?[31mroot??\u{1F469}"))
        #expect(!holders.unicodeScalars.contains { $0.value < 32 || $0.value == 0x202e })
    }

    @Test func impossibleNumbersOfClientsAreRefused() {
        for count in [Int.min, -1, 0, 1 << 16, .max] {
            #expect(throws: FabricError.self) { _ = try makeHost(temporaryPath("none")) { $0.maximumClients = count } }
        }
    }
}

@Suite struct ControlTextTests {
    @Test func textIsCutAtBytes() {
        let text = String(repeating: "\u{1F469}", count: 100)
        for limit in 0..<20 {
            let cut = String.printable(text, maximumBytes: limit)
            #expect(cut.utf8.count == limit / 4 * 4)
        }
        #expect(String.printable("a\u{0}b\u{2028}c\u{85}", maximumBytes: 100) == "a?b?c?")
    }

    @Test func theLongestMessagesFitAndAreRead() throws {
        let text = String(repeating: "\u{1F469}\u{200D}\u{1F467}", count: 40_000)
        let name = ControlRequest.hello(name: text).encoded()
        guard case .hello(let read) = try ControlRequest(decoding: unsafe name.span.bytes) else {
            throw FabricError(.protocolViolation)
        }
        #expect((61...64).contains(read.utf8.count))
        for reply in [ControlReply.text(text), .refused(.storeFull, text)] {
            let bytes = reply.encoded()
            _ = try ControlReply(decoding: unsafe bytes.span.bytes)
        }
        let id = ObjectID(words: (1, 2, 3))
        let entry = ObjectEntry(
            version: 1, id: id, offset: 0, size: .max, attributes: .init(word: .max), sealedAt: 0)
        let pins = (0..<100).map { (Int($0) + StoreConfiguration.mostClients - 100, UInt32.max) }
        let object = ObjectDescription(entry: entry, pins: pins, now: .never)
        let page = ControlReply.objects(Array(repeating: object, count: ControlReply.objectsPerPage), next: 7)
        let bytes = page.encoded()
        #expect(try ControlReply(decoding: unsafe bytes.span.bytes) == page)
    }
}
