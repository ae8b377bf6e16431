// Every message between machines of the scheduler, in one type, so that a shell or a simulator routes one thing.

/// A message. Who may send it to whom is said at each case. What is large and rare is held by reference, so that what
/// is sent for each task stays small.
public enum SchedulerMessage: Sendable {
    // Submitter to node, or to the global scheduler.
    indirect case request(LeaseRequest)
    // Submitter to node.
    case giveBack(LeaseReturn)
    case renew(LeaseRenewal)
    // Node or global scheduler to submitter.
    indirect case answer(LeaseAnswer)
    // Node to submitter.
    case gaveBack(LeaseID)
    case renewed(LeaseRenewed)
    // Submitter to worker, and back.
    case push(TaskPush)
    case cancelTask(TaskCancel)
    case taskReport(TaskReport)
    // Node to control store, and back.
    indirect case report(NodeReport)
    case reportReceived(version: UInt64)
    case pullViews(ViewPull)
    case views(ViewBatch)
    // Control store to node, and back.
    indirect case bundles(BundleRequest)
    case bundlesAnswer(BundleAnswer)
}
