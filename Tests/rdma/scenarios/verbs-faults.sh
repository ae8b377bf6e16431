# What is lost with a device, a link or the right to lock memory is told, or done by sockets.
export RAYFABRIC_BREAK_DEVICES=1
swift_tests RayFabricTests.VerbsFaultTests/

fails with_locked_memory 64 fabricbench pull --transport verbs --size 1MiB --duration 0.5 --warmup 0 --repeat 1 \
    --no-roof >"$logs/limited" 2>&1
grep 'lockedMemoryLimit' "$logs/limited" || { cat "$logs/limited"; false; }

# The connection fits the limit and the objects do not: the same error, never a silent socket.
fails with_locked_memory 6000 fabricbench pull --transport verbs --size 16MiB --duration 0.5 --warmup 0 --repeat 1 \
    --no-roof >"$logs/limited" 2>&1
grep 'lockedMemoryLimit' "$logs/limited" || { cat "$logs/limited"; false; }
grep 'ulimit -l' "$logs/limited"
