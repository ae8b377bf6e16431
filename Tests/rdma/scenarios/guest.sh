# The guest itself: RDMA works between two processes, and each fault does what it says.

report "ib_send_lat, 8 B, us: $(perftest ib_send_lat -s 8 -n 500 | awk '{ print "typical " $5 ", average " $6 }')"
report "ib_read_bw, 1 MiB, MB/s: $(perftest ib_read_bw -s 1048576 -n 50 | awk '{ print "average " $4 }')"
perftest ib_read_bw -s 65536 -n 10 -d rxe1

# What the connection manager is asked by.
[ -c /dev/infiniband/rdma_cm ]

devices() { ls /sys/class/infiniband; }
[ "$(devices | tr '\n' ' ')" = 'rxe0 rxe1 ' ]
remove_device rxe0
[ "$(devices)" = rxe1 ]
fails ibv_devinfo -d rxe0
restore_devices
state() { ibv_devinfo -d rxe0 | awk '/state:/ { print $2 }'; }
[ "$(state)" = PORT_ACTIVE ]
link_down eth0
wait_until 20 eval '[ "$(state)" = PORT_DOWN ]'
link_up eth0
wait_until 20 eval '[ "$(state)" = PORT_ACTIVE ]'

# Root too may not register more than it may lock.
fails with_locked_memory 64 timeout 20 ibv_rc_pingpong -d rxe0 -g 1 -s 1048576 >"$logs/limited" 2>&1
grep 'register MR' "$logs/limited" || { cat "$logs/limited"; false; }
