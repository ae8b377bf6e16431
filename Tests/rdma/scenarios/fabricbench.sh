# fabricbench runs in the guest and moves right bytes.
fabricbench list
fabricbench pull --transport uring --size 1MiB --verify --duration 1 --warmup 0 --repeat 1 --no-roof >"$logs/pull"
report "$(grep uring "$logs/pull")"
