# The harness itself: the hosts reach each other, the cable can be slowed down, cut and healed.

reaches() { on "$1" ping -q -c 1 -W 1 "$2"; }

reaches a $address_b
reaches b $address_a

# 60 KB at 2 Mbit/s, once the burst is used up, take at least 240 ms each way.
round_trip() { on a ping -q -c 1 -W 10 -s 60000 $address_b | sed -n 's|.* = \([0-9]*\)\..*|\1|p'; }
fast=$(round_trip)
limit 2mbit
on a ping -q -c 8 -i 0.01 -W 10 -s 60000 $address_b
slow=$(round_trip)
echo "round trip of 60 KB: $fast ms, at 2 Mbit/s $slow ms"
[ "$slow" -ge 100 ]
limit 10gbit

cut
fails reaches a $address_b
fails reaches b $address_a
heal
reaches a $address_b

# Cut at one end only: what b sends does not arrive, what a sends does.
echoes() { on b awk '/^IcmpMsg:/ && !names { split($0, name); names = 1; next }
    /^IcmpMsg:/ { for (i in name) if (name[i] == "InType8") print $i }' /proc/net/snmp; }
cut a
fails reaches a $address_b
before=$(echoes)
on a ping -q -c 3 -i 0.1 -W 1 $address_b || true
[ $(($(echoes) - before)) = 3 ]
heal

# A command in the background: its output and its status come back.
start b answer bash -c 'echo ready; exit 3'
wait_until 5 grep -q ready "$(output answer)"
status=0
wait_for_end 5 answer || status=$?
[ $status = 3 ]
