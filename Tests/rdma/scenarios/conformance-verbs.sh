# The contract of transports holds on RDMA.
swift_tests RayFabricTests.VerbsConformanceTests/
