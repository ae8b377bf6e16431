// The store through its front door: one process, host and clients attached over a path.

import RayCore
import RayFabric
import Testing

#if canImport(Glibc)
    import Glibc
#endif

func temporaryPath(_ name: String) -> String { "/tmp/fabric-\(getpid())-\(name)-\(UInt32.random(in: 0 ... .max))" }

@Suite struct FabricTests {
    private func makeFabric(capacity: ByteCount = .mebibytes(16), path: String? = nil) throws -> Fabric {
        try Fabric(FabricConfiguration(capacity: capacity, path: path))
    }

    @Test func putAndGetInOneProcess() throws {
        let fabric = try makeFabric()
        let id = try fabric.put(Array("hello".utf8), metadata: [1, 2, 3])
        let object = try fabric.get(id, within: .seconds(5))
        let isHello = object.withBytes { $0.elementsEqual("hello".utf8) }
        #expect(isHello)
        let hasMetadata = object.metadata.elementsEqual([1, 2, 3])
        #expect(hasMetadata)
        #expect(id.owner == fabric.worker)
    }

    @Test func emptyObject() throws {
        let fabric = try makeFabric()
        let id = try fabric.put([])
        #expect(try fabric.get(id, within: .seconds(5)).size == 0)
        try fabric.delete(id)
        #expect(try !fabric.contains(id))
    }

    @Test func aClientReadsInPlaceWhatAnotherSealed() throws {
        let path = temporaryPath("attach")
        let host = try makeFabric(path: path)
        let writer = try Fabric(attachingTo: path, name: "writer")
        let reader = try Fabric(attachingTo: path, name: "reader")
        var draft = try writer.create(size: 1 << 20)
        draft.withMutableBytes { bytes in
            for index in 0..<bytes.byteCount {
                bytes.storeBytes(of: UInt8(truncatingIfNeeded: index), toByteOffset: index, as: UInt8.self)
            }
        }
        let id = try draft.seal()
        for fabric in [host, writer, reader] {
            let object = try fabric.get(id, within: .seconds(5))
            #expect(object.size == 1 << 20)
            let byte = object.withBytes { $0.byte(at: 257) }
            #expect(byte == 1)
        }
    }

    @Test func deletionWaitsForPins() throws {
        let path = temporaryPath("delete")
        let host = try makeFabric(path: path)
        let client = try Fabric(attachingTo: path)
        let id = try host.put([UInt8](repeating: 7, count: 1000))
        let object = try client.get(id, within: .seconds(5))
        try host.delete(id)
        #expect(throws: FabricError.self) { _ = try host.get(id, within: .zero) }
        #expect(throws: FabricError.self) { _ = try client.get(id, within: .zero) }
        let listed = try host.inspect()
        #expect(listed.count == 1)
        #expect(listed.first?.isDeleted == true)
        #expect(listed.first?.pins.map(\.count) == [1])
        let byte = object.withBytes { $0.byte(at: 999) }
        #expect(byte == 7)
        object.release()
        #expect(try host.inspect().isEmpty)
        #expect(try host.usage().primaryBytes == 0)
    }

    @Test func aFullStoreSaysWhoHoldsIt() throws {
        let fabric = try makeFabric(capacity: .mebibytes(4))
        var ids: [ObjectID] = []
        var failure: FabricError?
        for _ in 0..<100 {
            do { ids.append(try fabric.put([UInt8](repeating: 1, count: 100_000))) } catch {
                failure = error
                break
            }
        }
        #expect(failure?.code == .storeFull)
        #expect(failure?.description.contains("capacity 4194304") == true)
        #expect(ids.count >= 30)
        // Deleting makes room again.
        for id in ids { try fabric.delete(id) }
        for _ in 0..<30 { ids.append(try fabric.put([UInt8](repeating: 1, count: 100_000))) }
    }

    @Test func largerThanASegment() throws {
        let fabric = try makeFabric(capacity: .mebibytes(16))
        for size in [1 << 20, 5 << 20, 16 << 20] {
            var draft = try fabric.create(size: size)
            draft.withMutableBytes { bytes in
                bytes.storeBytes(of: 0x55, toByteOffset: size - 1, as: UInt8.self)
            }
            let id = try draft.seal()
            let object = try fabric.get(id, within: .seconds(5))
            let byte = object.withBytes { $0.byte(at: size - 1) }
            #expect(byte == 0x55)
            object.release()
            try fabric.delete(id)
        }
        #expect(throws: FabricError.self) { _ = try fabric.create(size: (16 << 20) + 1) }
        #expect(throws: FabricError.self) { _ = try fabric.create(size: -1) }
        #expect(throws: FabricError.self) { _ = try fabric.create(size: .max) }
    }

    @Test func waitingForAnObjectThatComesLater() async throws {
        let path = temporaryPath("wait")
        let host = try makeFabric(path: path)
        let client = try Fabric(attachingTo: path)
        let draft = try host.create(size: 10)
        let id = draft.id
        async let size = Task.detached { try client.get(id, within: .seconds(10)).size }.value
        async let asynchronous = Task.detached { try await client.get(id, within: .seconds(10)).size }.value
        _ = try draft.seal()
        #expect(try await size == 10)
        #expect(try await asynchronous == 10)
        let never = try host.create(size: 1)
        #expect(throws: FabricError.self) { _ = try client.get(never.id, within: .milliseconds(20)) }
    }

    @Test func theHostEndsAndViewsStay() throws {
        let path = temporaryPath("lost")
        let host = try makeFabric(path: path)
        let client = try Fabric(attachingTo: path)
        let id = try host.put([1, 2, 3])
        let object = try client.get(id, within: .seconds(5))
        host.close()
        do {
            _ = try client.get(id, within: .seconds(5))
            Issue.record("the host is gone")
        } catch {
            #expect(error.code == .hostLost)
        }
        let isReadable = object.withBytes { $0.elementsEqual([1, 2, 3]) }
        #expect(isReadable)
    }

    @Test func oneHostPerPath() throws {
        let path = temporaryPath("twice")
        var host: Fabric? = try makeFabric(path: path)
        do {
            _ = try makeFabric(path: path)
            Issue.record("two hosts")
        } catch let error as FabricError {
            #expect(error.code == .hostExists)
        }
        host?.close()
        host = nil
        _ = try makeFabric(path: path)
        let isGone = unsafe access(path, F_OK) != 0
        #expect(isGone)
    }
}

extension RawSpan {
    func byte(at offset: Int) -> UInt8 { unsafe unsafeLoad(fromByteOffset: offset, as: UInt8.self) }

    func elementsEqual(_ bytes: some Collection<UInt8>) -> Bool {
        let expected = Array(bytes)
        guard expected.count == byteCount else { return false }
        return unsafe withUnsafeBytes { unsafe $0.isEmpty || memcmp($0.baseAddress!, expected, expected.count) == 0 }
    }
}
