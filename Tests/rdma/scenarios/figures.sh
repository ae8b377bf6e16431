# Our figures over RDMA beside those of perftest, of UCX and of our own sockets, measured in turn in one boot.
# No figure is asserted: only that everything ran and moved right bytes. A person runs
# `fabricbench compare --transport verbs`.
repeat=3
# Beside the other scenarios once is enough.
[ "$(ls /tests/scenarios)" = figures.sh ] || repeat=1
quick='--warmup 0 --duration 0.1 --repeat 1 --no-roof --verify'
fabricbench lat --transport verbs --size 8 $quick
fabricbench bw --transport verbs --size 1MiB $quick

# compare BENCHMARK PEERS [OPTION]...: reports what `compare` says of it, of each of PEERS among others.
compare() {
    local benchmark=$1 peers=$2 figures=$logs/$1
    shift 2
    fabricbench compare --transport verbs --only "$benchmark" --warmup 0.1 --duration 0.25 "$@" >"$figures" ||
        { cat "$figures"; return 1; }
    sed -n '/^compare:/,$s/^  //p' "$figures" | while IFS= read -r line; do report "$line"; done
    [ "$(grep -oE "$peers" "$figures" | sort -u | paste -sd '|')" = "$peers" ] || { cat "$figures"; return 1; }
}
compare lat 'ib_send_lat|ucx rc' --repeat $repeat
compare bw 'ib_read_bw|ib_write_bw|ucx rc' --size 1MiB --repeat $repeat
# The bytes of a pull are verified after its time was taken.
compare pull 'ib_read_bw|ours over uring' --repeat $repeat --verify
