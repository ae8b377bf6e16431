// Sockets, heartbeats and deadlines beside messages by RDMA.

#if Verbs
    import RayCore
    import Testing

    @testable import RayFabric

    @Suite struct ScriptedTurnTests {
        /// Whenever the receiver looks there is another message; its heartbeats leave all the same.
        @Test func messagesThatNeverCeaseHoldUpNoHeartbeat() throws {
            let fabric = ScriptedFabric()
            do {
                var pair = try fabric.fixture(.required).pair { configuration in
                    configuration.heartbeatInterval = .milliseconds(50)
                    configuration.livenessTimeout = .milliseconds(400)
                }
                pair.right.countsMessages = true
                let end = Timestamp.now + .milliseconds(1500)
                while .now < end {
                    _ = try pair.left.send([UInt8](repeating: 0, count: 8), on: pair.fromLeft)
                    pair.left.drain(limit: 1)
                    pair.right.drain(limit: 1)
                    try #require(pair.left.closure(pair.fromLeft) == nil)
                }
                #expect(pair.right.messageCount > 1000)
            }
            fabric.expectClean()
        }
    }
#endif
