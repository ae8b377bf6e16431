// `idle`: the processes of a node that has nothing to do.

internal import RayCore
internal import RayFabric

enum IdleRun {
    /// Takes one of the parts, and then does nothing until the job ends.
    static func perform(_ job: Job, on channel: borrowing ControlChannel) throws(FabricError) -> Report {
        switch job.work {
        case .idleHost:
            let fabric = try host(job)
            let object = try fabric.put([UInt8](repeating: 1, count: job.settings.size))
            guard let address = fabric.address else { throw FabricError(.unsupported, "the host does not listen") }
            try channel.send(.ready(address, first: object))
            try channel.awaitEnd()
        case .idleClient:
            let fabric = try Fabric(attachingTo: job.objects.path, name: "idle")
            guard let id = job.objects.first else { throw FabricError(.invalidArgument, "no object to hold") }
            let object = try fabric.get(id, within: .seconds(5))
            try channel.send(.ready(.unix(path: job.objects.path), first: nil))
            try channel.awaitEnd()
            _ = consume object
        case _:
            let nodes = try peers(job)
            try channel.send(.ready(.loopback(name: ""), first: nil))
            try channel.awaitEnd()
            for node in nodes { node.close() }
        }
        return Report()
    }

    private static func host(_ job: Job) throws(FabricError) -> Fabric {
        var configuration = FabricConfiguration(capacity: .mebibytes(64), path: job.objects.path)
        configuration.network = try network(job, listen: "127.0.0.1:0")
        return try Fabric(configuration)
    }

    /// As many nodes as there are to be connections, in one process.
    private static func peers(_ job: Job) throws(FabricError) -> [Fabric] {
        var nodes: [Fabric] = []
        for _ in 0..<job.objects.count {
            var configuration = FabricConfiguration(capacity: .mebibytes(1))
            configuration.network = try network(job, listen: nil)
            let node = try Fabric(configuration)
            try node.connect(to: job.objects.path)
            nodes.append(node)
        }
        return nodes
    }

    private static func network(_ job: Job, listen: String?) throws(FabricError) -> NetworkConfiguration {
        var network = NetworkConfiguration(listen: listen, clusterKey: try ClusterKey(job.key))
        network.transport = try PullRun.choice(job.transport)
        network.settings.lanes = job.lanes
        return network
    }
}
