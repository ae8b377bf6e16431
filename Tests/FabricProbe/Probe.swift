// What a probe can do.

import CLinux
import Glibc
import RayCore
import RayFabric
import Synchronization

final class Probe: Sendable {
    private let current = Mutex<Fabric?>(nil)
    private let drafts = Mutex<[ObjectID: Kept<Draft>]>([:])
    private let logged = Mutex<[String]>([])
    private let objects = Mutex<[ObjectID: [Kept<Object>]]>([:])

    private func fabric() throws(FabricError) -> Fabric {
        guard let fabric = current.withLock({ $0 }) else { throw FabricError(.invalidState, "host or attach first") }
        return fabric
    }

    /// - Returns: the reply.
    func run(_ command: Command) throws(FabricError) -> String {
        switch command.name {
        case "host":
            let fabric = try host(command)
            current.withLock { $0 = fabric }
        case "hostAnother": _ = try host(command)
        case "attach": try attach(command)
        case "close":
            try fabric().close()
            current.withLock { $0 = nil }
        case "load": try load(command)
        case "leaveDescriptors": try System.leaveDescriptors(command.number(0))
        case "restoreDescriptors": System.restoreDescriptors()
        case "forbidIOUring": try System.forbidIOUring()
        case "log": return logged.withLock { $0.joined(separator: "; ") }
        case "becomeUser": try System.becomeUser(UInt32(command.number(0)), group: UInt32(command.number(1)))
        default: return try runOnStore(command)
        }
        return "done"
    }

    private func runOnStore(_ command: Command) throws(FabricError) -> String {
        switch command.name {
        case "put": return try put(command.number(0))
        case "create": return try create(command.number(0))
        case "fill":
            try draft(command.object(0)).with { draft throws(FabricError) in try Pattern.fill(&draft) }
        case "seal": return "\(try draft(command.object(0)).take().seal())"
        case "reserve": try fabric().create(size: command.number(0)).abort()
        case "get": return try describe(fabric().get(command.object(0), within: command.milliseconds(1)))
        case "hold": return try hold(command)
        case "check": return try check(command.object(0))
        case "release": objects.withLock { $0.removeAll() }
        case "delete": try fabric().delete(command.object(0))
        case "contains": return try fabric().contains(command.object(0)) ? "yes" : "no"
        case "report": return try report()
        case "verifyAll": return try verifyAll()
        case "deleteAll": try fabric().delete(fabric().inspect().map(\.id))
        case "connect": return "\(try fabric().connect(to: command.text(0), within: command.milliseconds(1)))"
        case "address": return try fabric().address.map { "\($0)" } ?? "none"
        case "stopWhenPulled": try stopWhenPulled(UInt64(command.number(0)))
        default: throw FabricError(.invalidArgument, "no command \(command.name)")
        }
        return "done"
    }

    // MARK: Beginning

    private func host(_ command: Command) throws(FabricError) -> Fabric {
        var configuration = FabricConfiguration(capacity: .mebibytes(try command.number(1)))
        configuration.store.path = try command.text(0)
        configuration.store.groupID = command.option("group").flatMap { UInt32($0) }
        if let clients = command.option("clients").flatMap({ Int($0) }) {
            configuration.store.maximumClients = clients
        }
        configuration.node = command.option("node").flatMap { UInt64($0) }.map { NodeID(value: $0, incarnation: 1) }
        if let listen = command.option("listen") {
            let key = try command.option("key").map { key throws(FabricError) in try ClusterKey(Array(key.utf8)) }
            var network = NetworkConfiguration(listen: listen, clusterKey: key)
            if let most = command.option("halfOpen").flatMap({ Int($0) }) { network.settings.maximumHalfOpen = most }
            if command.option("fallback") != nil { network.transport = .uringOrNIO }
            configuration.network = network
        }
        configuration.store.log = { [self] line in logged.withLock { $0.append(line) } }
        return try Fabric(configuration)
    }

    private func attach(_ command: Command) throws(FabricError) {
        let fabric = try Fabric(attachingTo: command.text(0), name: "probe")
        current.withLock { $0 = fabric }
    }

    // MARK: Objects

    private func create(_ size: Int) throws(FabricError) -> String {
        let kept = Kept(try fabric().create(size: size))
        let id = try kept.with { draft in draft.id }
        drafts.withLock { $0[id] = kept }
        return "\(id)"
    }

    private func put(_ size: Int) throws(FabricError) -> String {
        var draft = try fabric().create(size: size)
        try Pattern.fill(&draft)
        return "\(try draft.seal())"
    }

    private func draft(_ id: ObjectID) throws(FabricError) -> Kept<Draft> {
        guard let draft = drafts.withLock({ $0[id] }) else { throw FabricError(.invalidState, "no draft \(id)") }
        return draft
    }

    private func hold(_ command: Command) throws(FabricError) -> String {
        let id = try command.object(0)
        let kept = Kept(try fabric().get(id, within: command.milliseconds(1)))
        objects.withLock { $0[id, default: []].append(kept) }
        return try check(id)
    }

    private func check(_ id: ObjectID) throws(FabricError) -> String {
        guard let kept = objects.withLock({ $0[id]?.last }) else { throw FabricError(.invalidState, "not held") }
        return try kept.with { Self.describe($0) }
    }

    private func describe(_ object: consuming Object) -> String { Self.describe(object) }

    private static func describe(_ object: borrowing Object) -> String {
        "\(object.size) bytes, \(object.withBytes(Pattern.isWhole) ? "whole" : "WRONG")"
    }

    func getAsynchronously(_ command: Command) async throws(FabricError) -> String {
        describe(try await fabric().get(command.object(0), within: command.milliseconds(1)))
    }

    // MARK: Looking

    /// What a process that has died must not leave behind in this one.
    private func report() throws(FabricError) -> String {
        let objects = try fabric().inspect()
        let pins = objects.reduce(0) { $0 + $1.pins.reduce(0) { $0 + Int($1.count) } }
        let usage = try fabric().usage()
        let descriptors = System.descriptors()
        return "objects=\(usage.objects) deleted=\(objects.count { $0.isDeleted }) pins=\(pins) "
            + "primary=\(usage.primaryBytes) secondary=\(usage.secondaryBytes) "
            + "descriptors=\(descriptors.others) segments=\(descriptors.segments) rings=\(try System.ringMappings())"
    }

    /// Reads every object that is there.
    private func verifyAll() throws(FabricError) -> String {
        let fabric = try fabric()
        var wrong = 0
        for object in try fabric.inspect() {
            let isWhole = try fabric.get(object.id, within: .zero).withBytes(Pattern.isWhole)
            if !isWhole { wrong += 1 }
        }
        return "\(wrong) wrong"
    }

    /// Stops this process once it has pulled so much: whoever waits for that has all the time it needs.
    private func stopWhenPulled(_ bytes: UInt64) throws(FabricError) {
        let deadline = Timestamp.now + .seconds(20)
        while Timestamp.now < deadline {
            guard let statistics = try fabric().transferStatistics() else {
                throw FabricError(.invalidState, "no network")
            }
            if statistics.bytesPulled >= bytes {
                _ = raise(SIGSTOP)
                return
            }
            _ = usleep(100)
        }
        throw FabricError(.deadlineExceeded, "waiting for \(bytes) bytes")
    }

    /// Replies by itself.
    func countCosts(_ command: Command, tag: String) throws(FabricError) {
        try Costs(fabric: fabric(), tag: tag, repeats: command.number(0)).run()
    }

    // MARK: Load

    /// Begins to use the store at random from several threads, for ever.
    private func load(_ command: Command) throws(FabricError) {
        let fabric = try fabric()
        let seed = UInt64(try command.number(0))
        for thread in 0..<(try command.number(1)) {
            let load = Load(fabric: fabric, seed: seed &* 64 &+ UInt64(thread))
            inBackground("probe-load", load.run)
        }
    }
}

/// A value that is kept until it is taken.
final class Kept<Value: ~Copyable & Sendable>: Sendable {
    private let value: Mutex<Value?>
    init(_ value: consuming sending Value) { self.value = Mutex(value) }

    func take() throws(FabricError) -> Value {
        guard let value = value.withLock({ $0.take() }) else { throw FabricError(.invalidState, "already taken") }
        return value
    }

    func with<Result: Sendable>(_ body: (inout Value) throws(FabricError) -> Result) throws(FabricError) -> Result {
        var taken = try take()
        let result: Swift.Result<Result, FabricError>
        do throws(FabricError) { result = .success(try body(&taken)) } catch { result = .failure(error) }
        var kept: Value? = consume taken
        value.withLock { swap(&$0, &kept) }
        return try result.get()
    }
}
