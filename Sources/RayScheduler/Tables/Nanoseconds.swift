// Times in plain nanoseconds, for what is done for each task.

internal import RayCore

extension Duration {
    /// Whole nanoseconds from zero to 200 years.
    var boundedNanoseconds: UInt64 { UInt64(min(max(0, saturatedNanoseconds), .max / 2)) }
}

extension Timestamp {
    /// A time so many nanoseconds later; saturates.
    @inline(__always)
    func after(_ duration: UInt64) -> Timestamp {
        let (sum, isTooLate) = nanoseconds.addingReportingOverflow(duration)
        return Timestamp(nanoseconds: isTooLate ? .max : sum)
    }
}
