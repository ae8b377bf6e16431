// The process that hosts the store of a benchmark, or the node that others pull from.

internal import CLinux
internal import RayCore
internal import RayFabric

enum StoreRun {
    /// A store that other processes attach to.
    static func host(_ job: Job) throws(FabricError) -> Fabric {
        let capacity = ByteCount.bytes(job.objects.capacity(size: job.settings.size))
        var configuration = FabricConfiguration(capacity: capacity, path: job.objects.path)
        configuration.store.prefault = capacity
        configuration.store.maximumObjects = max(2 * (job.objects.count + 16) * job.objects.clients, 1 << 16)
        let fabric = try Fabric(configuration)
        try awaitMemory(of: fabric)
        return fabric
    }

    /// Waits until all memory of a store exists: making it takes the CPU time that is to be measured.
    static func awaitMemory(of fabric: Fabric) throws(FabricError) {
        let deadline = Timestamp.now + .seconds(120)
        while true {
            let usage = try fabric.usage()
            if usage.readyBytes == usage.capacity { return }
            guard Timestamp.now < deadline else {
                throw FabricError(.deadlineExceeded, "the system makes \(usage.capacity) bytes of memory too slowly")
            }
            usleep(2000)
        }
    }

    /// Makes the objects that are got or pulled; their payload follows from the seed and their number.
    /// - Returns: the first; the sequences of the others follow.
    static func fill(_ fabric: Fabric, _ job: Job) throws(FabricError) -> ObjectID {
        var first: ObjectID?
        for number in 0..<UInt64(job.objects.count) {
            var draft = try fabric.create(size: job.settings.size)
            draft.withMutableBytes { bytes in
                unsafe bytes.withUnsafeMutableBytes { payload in
                    unsafe PayloadSource(job.settings).prepare(payload, sequence: number)
                }
            }
            let id = try draft.seal()
            let start = first ?? id
            first = start
            guard id.sequence == start.sequence + number else {
                throw FabricError(.invalidState, "the sequences of objects do not follow one another")
            }
        }
        guard let first else { throw FabricError(.invalidArgument, "no objects") }
        return first
    }
}

/// The identifiers of objects that were made one after another.
struct ObjectRange {
    let first: ObjectID
    let count: Int

    subscript(index: Int) -> ObjectID {
        ObjectID(owner: first.owner, sequence: first.sequence + UInt64(index))
    }
}
