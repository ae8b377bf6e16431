# Objects move by RDMA, and by sockets where that is allowed and needed.
swift_tests RayFabricTests.VerbsPullTests/
for size in 8 100KiB 1MiB 16MiB 512MiB; do
    fabricbench pull --transport verbs --size $size --objects 1 --verify --duration 0.5 --warmup 0 --repeat 1 --no-roof >"$logs/pull"
    report "$(grep verbs "$logs/pull")"
done
