# fabricbench runs in the guest, moves right bytes, and says what it makes of the devices.
fabricbench pull --transport uring --size 1MiB --verify --duration 1 --warmup 0 --repeat 1 --no-roof >"$logs/pull"
report "$(grep uring "$logs/pull")"

# shows PATTERN COMMAND...: a line of what the command prints is like that.
shows() {
    local pattern=$1
    shift
    "$@" >"$logs/shown" && grep -E "$pattern" "$logs/shown" || { cat "$logs/shown"; return 1; }
}
shows '^ +verbs +yes' fabricbench list
shows 'rxe0 +1 +ACTIVE +Ethernet +1 RoCE v2 +10\.0\.0\.1 +eth0 +1024 +yes' fabricbench list
shows 'verbs to 10\.0\.1\.1:7: yes.* GID 1 of rxe1 port 1' fabricbench explain --to 10.0.1.1:7
shows 'verbs to 127\.0\.0\.1:7: no: this end is 127\.0\.0\.1' fabricbench explain --to 127.0.0.1:7
shows 'locked memory: unlimited' fabricbench explain
shows 'locked memory: 64KiB; .*can not be registered' with_locked_memory 64 fabricbench explain
# As on a machine that has no connection manager.
mount --bind /dev/null /usr/lib/x86_64-linux-gnu/librdmacm.so.1
shows '^ +verbs +no +.*librdmacm.so.1 is not installed' fabricbench list
umount /usr/lib/x86_64-linux-gnu/librdmacm.so.1
link_down eth1
wait_until 20 shows 'rxe1 .*DOWN .*no: the port is DOWN' fabricbench list
# As on a machine that has no library.
mount --bind /dev/null /usr/lib/x86_64-linux-gnu/libibverbs.so.1
shows '^ +verbs +no +.*libibverbs.so.1 is not installed' fabricbench list
shows 'rxe0 .*1500 of the interface +no: libibverbs.so.1 is not installed' fabricbench list
