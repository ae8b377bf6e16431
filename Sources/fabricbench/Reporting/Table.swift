// Results as tables that a person can read, and as CSV.

/// Rows under headings; the first columns stand left, numbers right.
struct Table {
    private let headings: [String]
    private let leftColumns: Int
    private var rows: [[String]] = []

    init(_ headings: [String], leftColumns: Int) {
        self.headings = headings
        self.leftColumns = leftColumns
    }

    mutating func add(_ row: [String]) { rows.append(row) }

    var text: String {
        let widths = headings.indices.map { column in ([headings] + rows).map { $0[column].count }.max() ?? 0 }
        return ([headings] + rows).map { row in
            let cells = row.indices.map { column in
                let padding = String(repeating: " ", count: widths[column] - row[column].count)
                return column < leftColumns ? row[column] + padding : padding + row[column]
            }
            return "  " + cells.joined(separator: "  ") + "\n"
        }.joined()
    }
}

extension BenchmarkResult {
    /// All results, one table for each benchmark, with the roofs beside the figures.
    static func tables(_ results: [BenchmarkResult]) -> String {
        var text = ""
        for (name, title) in titles {
            let group = results.filter { $0.benchmark == name }
            guard let first = group.first else { continue }
            var table = Table(first.headings, leftColumns: first.leftColumns)
            for result in group { table.add(result.cells) }
            text += title + "\n" + table.text + "\n"
        }
        return text
    }

    private static let titles = [
        ("lat", "lat: one way, microseconds (half of a round trip; median of the repeats' percentiles)"),
        ("bw", "bw: payload counted at the receiver (median of the repeats)"),
        ("object", "object: one operation of one client, microseconds (median of the repeats)"),
        ("pull", "pull: from request to readable in the local store, microseconds (median of the repeats)"),
        ("idle", "idle: the host process, with nothing to do (median of the repeats)"),
    ]

    private var leftColumns: Int { 1 }

    private var headings: [String] {
        switch benchmark {
        case "lat":
            [
                "transport", "size", "p50", "p90", "p99", "p99.9", "max", "p50 of repeats", "roof p50", "of roof",
                "roof is",
            ]
        case "bw":
            [
                "transport", "size", "streams", "GB/s", "M op/s", "GB/s of repeats", "roof GB/s", "of roof",
                "CPU s/GiB", "roof is",
            ]
        case "idle":
            ["transport", "clients", "connections", "CPU % of a core", "MiB beside the store", "MiB of the store"]
        case "object":
            [
                "op", "size", "objects", "p50", "p99", "p99.9", "op/s", "GB/s", "roof GB/s", "of roof",
                "overhead B/object", "roof is",
            ]
        case _:
            [
                "transport", "size", "p50", "p99", "p99.9", "op/s", "GB/s", "roof GB/s", "of roof", "CPU s/GiB",
                "roof is",
            ]
        }
    }

    private var cells: [String] {
        func cell(_ value: Double?, _ scale: Double = 1) -> String { value.map { short($0 / scale) } ?? "-" }
        let size = sizeText(size)
        let ratio = ratioToRoof.map { fixed($0, 2) } ?? "-"
        let name = transport ?? "-"
        switch benchmark {
        case "lat":
            let range = spread.map { short($0.lowerBound) + ".." + short($0.upperBound) } ?? "-"
            return [
                name, size, cell(latency?.p50), cell(latency?.p90), cell(latency?.p99), cell(latency?.p999),
                cell(latency?.maximum), range, cell(roofLatencyP50), ratio, roofName ?? "-",
            ]
        case "bw":
            let range = spread.map { short($0.lowerBound / 1e9) + ".." + short($0.upperBound / 1e9) } ?? "-"
            return [
                name, size, String(streams), cell(bytesPerSecond, 1e9), cell(operationsPerSecond, 1e6), range,
                cell(roofBytesPerSecond, 1e9), ratio, cell(localCPUPerGiB) + "+" + cell(remoteCPUPerGiB),
                roofName ?? "-",
            ]
        case "idle":
            return [
                name, String(clients ?? 0), String(streams), cell(idlePercent), cell(idleBytes, Double(1 << 20)),
                cell(idleSharedBytes, Double(1 << 20)),
            ]
        case "object":
            return [
                operation ?? name, size, String(objects ?? 0), cell(latency?.p50), cell(latency?.p99),
                cell(latency?.p999), cell(operationsPerSecond), cell(bytesPerSecond, 1e9),
                cell(roofBytesPerSecond, 1e9), ratio, overheadPerObject.map { fixed($0, 0) } ?? "-", roofName ?? "-",
            ]
        case _:
            return [
                name, size, cell(latency?.p50), cell(latency?.p99), cell(latency?.p999),
                cell(operationsPerSecond), cell(bytesPerSecond, 1e9), cell(roofBytesPerSecond, 1e9), ratio,
                cell(localCPUPerGiB) + "+" + cell(remoteCPUPerGiB), roofName ?? "-",
            ]
        }
    }

    /// The results as comma-separated values with the names of the JSON.
    static func csv(_ results: [BenchmarkResult]) -> String {
        let header =
            "benchmark,transport,op,size_bytes,streams,lanes,clients,latency_us_min,latency_us_mean,latency_us_p50,"
            + "latency_us_p90,latency_us_p99,latency_us_p999,latency_us_max,bytes_per_s,ops_per_s,"
            + "cpu_s_per_gib_local,cpu_s_per_gib_remote,samples,corrupted,roof_name,roof_bytes_per_s,"
            + "roof_latency_us_p50,ratio_to_roof,objects,overhead_bytes_per_object,cpu_percent,resident_bytes\n"
        return header + results.map(\.csvLine).joined()
    }

    private var csvLine: String {
        func cell(_ value: Double?) -> String { value.map { rounded($0, significantDigits: 6).description } ?? "" }
        let latency = latency
        let cells = [
            benchmark, transport ?? "", operation ?? "", String(size), String(streams), String(lanes),
            clients.map { String($0) } ?? "", cell(latency?.minimum), cell(latency?.mean), cell(latency?.p50),
            cell(latency?.p90), cell(latency?.p99), cell(latency?.p999), cell(latency?.maximum),
            cell(bytesPerSecond), cell(operationsPerSecond), cell(localCPUPerGiB), cell(remoteCPUPerGiB),
            String(samples), String(corrupted), roofName ?? "", cell(roofBytesPerSecond), cell(roofLatencyP50),
            cell(ratioToRoof), objects.map { String($0) } ?? "", cell(overheadPerObject), cell(idlePercent),
            cell(idleBytes),
        ]
        return cells.joined(separator: ",") + "\n"
    }
}
