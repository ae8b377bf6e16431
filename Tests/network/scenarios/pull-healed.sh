# The cable is cut in the middle of a pull and heals before the peers give each other up: nothing is lost.
source "$here/pulls.sh"

limit 200mbit
serve 50000000
pull 40
wait_until 20 received 10000000
cut
# Longer than any packet is under way, shorter than the liveness timeout of 5 s.
sleep 2
heal
pulled 50000000
