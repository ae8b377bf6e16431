// The owner's side of borrowing, and loans to those whom owners do not know yet.

internal import RayCore

extension WorkerMachine {
    // MARK: Borrowers of own objects

    mutating func register(_ object: ObjectID, _ claim: UInt64, _ peer: Slot) {
        guard let slot = find(object), objects[slot].role == .owner, objects[slot].value != .released else {
            return send(.refused(object, claim: claim, ObjectError(object, .outOfScope)), to: peer)
        }
        setBorrower(peer, of: slot, claim)
        send(.registered(object, claim: claim), to: peer)
    }

    mutating func setBorrower(_ peer: Slot, of slot: Slot, _ claim: UInt64) {
        if let pair = borrowers.find(slot, peer, in: objects[slot].borrowers) {
            borrowers[pair].payload = claim
        } else {
            borrowers.insert(slot, peer, claim, in: &objects[slot].borrowers)
        }
    }

    mutating func release(_ object: ObjectID, _ claim: UInt64, _ peer: Slot) {
        guard let slot = find(object), let pair = borrowers.find(slot, peer, in: objects[slot].borrowers),
            borrowers[pair].payload == claim
        else { return }
        removeBorrower(pair)
    }

    mutating func removeBorrower(_ pair: Slot) {
        let slot = borrowers[pair].object
        borrowers.remove(pair, in: &objects[slot].borrowers)
        if objects[slot].borrowers == .absent { touch(slot) }
    }

    // MARK: Loans

    /// Holds an object for a peer. Without a token the loan ends only when the peer's death is settled.
    mutating func lend(_ slot: Slot, to peer: Slot, _ kind: LoanKind, token: UInt64?) {
        let loan = loans.insert(Loan(object: slot, peer: peer, kind: kind, token: token))
        if let token { loanOfKey[LoanKey(peer: peer, kind: kind, token: token)] = loan }
        loansOfPeer.append(loan, to: &peers[peer].loans)
        objects[slot].loans += 1
    }

    mutating func returned(_ kind: LoanKind, _ token: UInt64, _ peer: Slot) {
        guard let loan = loanOfKey[LoanKey(peer: peer, kind: kind, token: token)] else { return }
        endLoan(loan)
    }

    mutating func endLoan(_ loan: Slot) {
        let (slot, peer) = (loans[loan].object, loans[loan].peer)
        if let token = loans[loan].token {
            loanOfKey[LoanKey(peer: peer, kind: loans[loan].kind, token: token)] = nil
        }
        loansOfPeer.remove(loan, from: &peers[peer].loans)
        loans.remove(loan)
        objects[slot].loans -= 1
        if objects[slot].loans == 0 { touch(slot) }
    }

    // MARK: What a completed task hands over

    /// An argument that the worker goes on holding. If it is ours, the worker is a borrower from now on; else we hold
    /// it until the owner knows the worker.
    mutating func acceptKept(_ reference: LentReference, by peer: Slot) {
        guard let slot = find(reference.object) else { return }
        if objects[slot].role == .owner {
            setBorrower(peer, of: slot, reference.token)
        } else {
            lend(slot, to: peer, .argument, token: reference.token)
        }
    }

    /// A reference inside of a value that has become ours. Its lender is told once it is safe without it.
    /// - Returns: the record, which counts one more container; nil if the object has ended.
    mutating func acceptContent(_ reference: LentReference, from peer: Slot) -> Slot? {
        if let slot = find(reference.object) {
            objects[slot].containers += 1
            if objects[slot].role == .registering, objects[slot].keeper == .nobody {
                keep(slot, by: .contentLender, peer, token: reference.token)
            } else {
                send(.returned(.content, token: reference.token), to: peer)
            }
            return slot
        }
        guard reference.object.owner != id, let slot = borrow(reference.object) else {
            send(.returned(.content, token: reference.token), to: peer)
            guard let slot = find(reference.object) else { return nil }
            objects[slot].containers += 1
            return slot
        }
        objects[slot].containers += 1
        keep(slot, by: .contentLender, peer, token: reference.token)
        beginRegistration(slot)
        return slot
    }

    /// References inside of a value that nobody wants.
    mutating func declineContents(_ references: [LentReference], from peer: Slot) {
        for reference in references { send(.returned(.content, token: reference.token), to: peer) }
    }
}
