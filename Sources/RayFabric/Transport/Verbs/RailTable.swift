// The rails of a transport.

#if Verbs
    internal import RayCore

    /// Rails, found by their connection and by the number in their completions, in constant time and
    /// without hashing: both are looked up for each message.
    struct RailTable {
        /// Rails at a time whose numbers never meet in one place.
        static var places: Int { 4096 }

        private(set) var all: [Rail] = []
        private var byConnection: [Rail?] = []
        private var byNumber = [Rail?](repeating: nil, count: places)
        private var lastNumber: UInt16 = 0

        var isEmpty: Bool { all.isEmpty }

        subscript(_ id: Connection) -> Rail? {
            let index = Int(id.index)
            guard index < byConnection.count, let rail = byConnection[index], rail.connection == id else { return nil }
            return rail
        }

        subscript(_ number: UInt16) -> Rail? {
            guard let rail = byNumber[Int(number) % Self.places], rail.number == number else { return nil }
            return rail
        }

        /// Makes a rail with a number that was not used for long.
        /// - Returns: nil when there are too many.
        mutating func insert(_ id: Connection, isInitiator: Bool, deadline: Timestamp) -> Rail? {
            guard all.count < Self.places else { return nil }
            repeat { lastNumber &+= 1 } while byNumber[Int(lastNumber) % Self.places] != nil
            let rail = Rail(id, number: lastNumber, isInitiator: isInitiator, deadline: deadline)
            byNumber[Int(lastNumber) % Self.places] = rail
            while byConnection.count <= Int(id.index) { byConnection.append(nil) }
            byConnection[Int(id.index)] = rail
            all.append(rail)
            return rail
        }

        mutating func remove(_ rail: Rail) {
            byNumber[Int(rail.number) % Self.places] = nil
            byConnection[Int(rail.connection.index)] = nil
            all.removeAll { $0 === rail }
        }
    }
#endif
