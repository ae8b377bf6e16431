// Numbers as people read them.

/// A number with a fixed count of digits after the point.
func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return "-" }
    let scale = (0..<digits).reduce(1.0) { scale, _ in scale * 10 }
    let scaled = (value.magnitude * scale).rounded()
    guard scaled < 9e15 else { return value.description }
    let whole = Int64(scaled)
    let sign = value < 0 && whole != 0 ? "-" : ""
    guard digits > 0 else { return sign + String(whole) }
    let divisor = Int64(scale)
    let fraction = String(whole % divisor)
    return sign + String(whole / divisor) + "." + String(repeating: "0", count: digits - fraction.count) + fraction
}

/// A number with about three digits that matter, never in exponent form.
func short(_ value: Double) -> String {
    switch value.magnitude {
    case ..<10: fixed(value, 2)
    case ..<100: fixed(value, 1)
    case _: fixed(value, 0)
    }
}

/// A number with no more digits than matter.
func rounded(_ value: Double, significantDigits digits: Int) -> Double {
    guard value.isFinite, value != 0 else { return value }
    let bound = (1..<digits).reduce(1.0) { bound, _ in bound * 10 }
    var scale = 1.0
    while (value * scale).magnitude < bound { scale *= 10 }
    return (value * scale).rounded() / scale
}

/// Bytes in binary units where that is exact, as sizes are written on the command line.
func sizeText(_ bytes: Int) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] where bytes >= unit && bytes % unit == 0
    {
        return "\(bytes / unit)\(name)"
    }
    return "\(bytes)"
}
