# A peer that is killed, at either end of a pull by RDMA: the other one is told, and serves or asks others. A
# restarted peer has nothing to do with the one before it.
readonly key=the-key-of-the-tests

# serve NAME BYTES TRANSPORT: starts a node with an object of that size.
serve() {
    in_background "$1" TwoNodes serve $address_0:7345 "$key" "$2" "$3"
    wait_until 20 grep -q '^object' "$(output "$1")"
}
object() { awk '/^object/ { print $2 }' "$(output "$1")"; }
# pull NAME OBJECT SECONDS TRANSPORT
pull() { in_background "$1" TwoNodes pull $address_0:7345 "$key" "$2" "$3" "$4"; }
pulled() {
    wait_for_end 60 "$1" || { cat "$(output "$1")"; return 1; }
    grep "^pulled $2 bytes, 0 words wrong" "$(output "$1")"
}
# Bytes that RDMA has moved by a device, as its own counters say.
moved() { cat /sys/class/infiniband/rxe0/ports/1/hw_counters/rcvd_pkts; }
# begun FROM: some thousand packets have come since.
begun() { [ $(($(moved) - $1)) -gt 3000 ]; }

# The source is killed in the middle.
serve source 67108864 verbs
packets=$(moved)
pull puller "$(object source)" 20 verbs
wait_until 30 begun "$packets"
stop source
status=0
wait_for_end 40 puller || status=$?
grep '^failed: ' "$(output puller)"
[ $status = 1 ]
report "killed source: $(grep -o '^failed: [a-zA-Z]*' "$(output puller)")"

# The node that takes its place serves its own object.
serve again 30000000 verbs
pull second "$(object again)" 30 verbs
pulled second 30000000

# The puller is killed in the middle; the source goes on.
stop again
serve source 67108864 auto
packets=$(moved)
pull victim "$(object source)" 60 verbs
wait_until 30 begun "$packets"
stop victim
pull third "$(object source)" 60 auto
pulled third 67108864
stop source

# A forced transport that can't be had is an error with its reason, whichever end has no RDMA.
serve source 1000000 uring
pull forced "$(object source)" 5 verbs
fails wait_for_end 30 forced
grep 'failed: rdmaUnavailable' "$(output forced)"
pull free "$(object source)" 20 auto
pulled free 1000000
