# The C interface by RDMA alone, and its status where the process may not lock the memory that RDMA needs.
c-interface rdma $address_0

status=0
with_locked_memory 64 c-interface rdma $address_0 >"$logs/refused" 2>&1 || status=$?
cat "$logs/refused"
# RF_LOCKED_MEMORY_LIMIT.
[ $status = 45 ]
grep 'ulimit -l' "$logs/refused"
report "$(cut -c 1-150 "$logs/refused")"
