// What the fuzzers of the package in Fuzz/ call: one function for each place where bytes of a
// stranger or a peer come in. Only built with the trait Fuzzing.

#if Fuzzing
    import RayCore

    /// One function a fuzz target. Each takes any bytes and returns; a trap is a defect.
    public enum FuzzTargets {
        /// A stream of frames, as lane 0 or a bulk lane receives them.
        public static func frames(_ input: RawSpan) {
            var reader = WireReader(input)
            guard let first = try? reader.uint8() else { return }
            while let word = try? reader.uint64(), let prefix = try? FramePrefix(word: word, onBulkLane: first & 1 == 1)
            {
                precondition(prefix.word == word, "a prefix that was read is written as it was")
                guard let body = try? reader.take(prefix.kind.bodyByteCount),
                    let frame = try? Frame(prefix: prefix, body: body)
                else { return }
                checkRoundTrip(frame, prefix)
                _ = try? reader.take(min(prefix.payloadByteCount, reader.remaining))
            }
        }

        /// What was read is read the same once it was written.
        private static func checkRoundTrip(_ frame: Frame, _ prefix: FramePrefix) {
            var bytes = [UInt8](repeating: 0, count: WireLimits.headerBytes)
            var span = bytes.mutableSpan
            // SAFETY: bytes have no padding; so below.
            var writer = unsafe WireWriter(span.mutableBytes)
            frame.encode(payload: prefix.payloadByteCount, into: &writer)
            let written = writer.count
            precondition(written == prefix.headerByteCount, "a header has the length that its prefix says")
            var reader = unsafe WireReader(bytes.span.bytes)
            guard let word = try? reader.uint64(), let again = try? FramePrefix(word: word, onBulkLane: false),
                let body = try? reader.take(again.kind.bodyByteCount)
            else {
                // A payload that only a bulk lane may carry.
                precondition(prefix.payloadByteCount > WireLimits.messageBytes, "a written frame can be read")
                return
            }
            precondition((try? Frame(prefix: again, body: body)) == frame, "a frame that was read is written as it was")
        }

        /// The handshake, from either side, with whatever a stranger sends. Without the key nobody
        /// may get through it.
        public static func handshake(_ input: RawSpan) {
            var reader = WireReader(input)
            guard let side = try? reader.uint8(), let key = try? ClusterKey([UInt8](repeating: 7, count: 32)) else {
                return
            }
            // The same nonce each time, so that an input always does the same.
            var random = SeededRandom(seed: 1)
            let offer = HandshakeOffer(
                node: NodeID(value: 1, incarnation: 1), session: 2, lane: 0, laneCount: 4,
                nonce: HandshakeNonce(using: &random))
            var machine =
                side & 1 == 0 ? Handshake(initiator: offer, key: key) : Handshake(responder: offer, key: key)
            _ = machine.start()
            while let bytes = try? reader.take(machine.expectedByteCount) {
                let step = machine.receive(bytes)
                switch step.outcome {
                case .proceed: continue
                case .failed: return
                case .verified, .established: preconditionFailure("a stranger has proven the key")
                }
            }
        }
    }
#endif
