# The tests of the package run in the guest: here those of a transport that needs no RDMA.
swift_tests RayFabricTests.UringConformanceTests/
