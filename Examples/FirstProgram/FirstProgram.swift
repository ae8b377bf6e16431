// The first program of the README: put, create and seal, and read in place.

import RayFabric

@main struct FirstProgram {
    static func main() throws {
        // One process of a node hosts the store. Others attach to it at the path.
        let path = "/tmp/first-program.sock"
        let fabric = try Fabric(FabricConfiguration(capacity: .mebibytes(64), path: path))

        // One copy, into shared memory.
        let greeting = try fabric.put(Array("Hello, node!".utf8), metadata: [1])

        // No copy: fill the memory in place, then seal it. From then on it never changes.
        var draft = try fabric.create(size: 1 << 20)
        draft.withMutableBytes { bytes in
            for offset in stride(from: 0, to: bytes.byteCount, by: 8) {
                bytes.storeBytes(of: UInt64(offset), toByteOffset: offset, as: UInt64.self)
            }
        }
        let table = try draft.seal()

        // What any other process of this user does: attach, get with a deadline, read in place.
        let reader = try Fabric(attachingTo: path, name: "reader")
        let object = try reader.get(table, within: .seconds(5))
        object.withBytes { bytes in
            let last = bytes.unsafeLoad(fromByteOffset: bytes.byteCount - 8, as: UInt64.self)
            print("\(bytes.byteCount) bytes, the last word is \(last)")
        }
        try reader.get(greeting, within: .seconds(5)).withBytes { bytes in
            let text = (0..<bytes.byteCount).map { bytes.unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
            print(String(decoding: text, as: UTF8.self))
        }

        // An object that is pinned stays readable, even when it is deleted.
        try fabric.delete(table)
        print("still \(object.size) bytes, and deleted: \(try fabric.contains(table) == false)")
    }
}
