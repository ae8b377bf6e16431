// Two nodes: one makes an object and serves it, the other one pulls it. Also the program that the
// tests on two hosts run.
//
//     TwoNodes serve HOST:PORT KEY BYTES [TRANSPORT]          prints the object's identifier, serves until killed
//     TwoNodes pull HOST:PORT KEY OBJECT SECONDS [TRANSPORT]  pulls it and checks every word
//
// KEY is the secret of the cluster, at least 16 bytes. TRANSPORT is uring, verbs or auto (verbs where both nodes
// have it), uring if left out.

import Glibc
import RayCore
import RayFabric

@main struct TwoNodes {
    static func main() async {
        let arguments = CommandLine.arguments.dropFirst()
        do throws(FabricError) {
            switch (arguments.first, arguments.count) {
            case ("serve", 4...5):
                try await serve(at: argument(2), key: argument(3), size: Int(argument(4)) ?? 0)
            case ("pull", 5...6):
                try await pull(argument(4), from: argument(2), key: argument(3), seconds: Int(argument(5)) ?? 0)
            default: throw FabricError(.invalidArgument, "usage: TwoNodes serve|pull ..., see its first lines")
            }
        } catch {
            print("failed: \(error)")
            exit(1)
        }
    }

    static func argument(_ index: Int) -> String { CommandLine.arguments[index] }

    static func configuration(listen: String?, key: String) throws(FabricError) -> FabricConfiguration {
        var configuration = FabricConfiguration(capacity: .mebibytes(512))
        configuration.network = NetworkConfiguration(listen: listen, clusterKey: try ClusterKey(Array(key.utf8)))
        configuration.network?.transport = try transport()
        configuration.store.log = { print("note: \($0)") }
        return configuration
    }

    static func transport() throws(FabricError) -> TransportChoice {
        let last =
            CommandLine.arguments.count == (argument(1) == "serve" ? 6 : 7) ? CommandLine.arguments.last : "uring"
        switch last {
        case "uring": return .uring
        case "verbs": return .verbs
        case "auto": return .verbsOrUring
        default: throw FabricError(.invalidArgument, "\(last ?? "") is no transport")
        }
    }

    static func serve(at address: String, key: String, size: Int) async throws(FabricError) {
        let fabric = try Fabric(configuration(listen: address, key: key))
        var draft = try fabric.create(size: size)
        draft.withMutableBytes { bytes in
            for offset in stride(from: 0, through: bytes.byteCount - 8, by: 8) {
                bytes.storeBytes(of: UInt64(offset), toByteOffset: offset, as: UInt64.self)
            }
        }
        print("object \(try draft.seal())")
        fflush(nil)
        // Never made: waits, and the fabric serves from its own threads.
        let never = ObjectID(owner: fabric.worker, sequence: .max)
        _ = try await fabric.get(never, within: .seconds(86_400))
    }

    static func pull(_ text: String, from address: String, key: String, seconds: Int) async throws(FabricError) {
        guard let id = ObjectID(text) else { throw FabricError(.invalidArgument, "\(text) is no object") }
        let fabric = try Fabric(configuration(listen: nil, key: key))
        try fabric.connect(to: address, within: .seconds(seconds))
        let object = try await fabric.get(id, within: .seconds(seconds))
        let wrong = object.withBytes { bytes in
            stride(from: 0, through: bytes.byteCount - 8, by: 8).filter {
                bytes.unsafeLoad(fromByteOffset: $0, as: UInt64.self) != UInt64($0)
            }.count
        }
        print("pulled \(object.size) bytes, \(wrong) words wrong")
    }
}
