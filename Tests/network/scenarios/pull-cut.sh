# The cable is cut in the middle of a pull and stays so: the pull ends by its deadline. Once the cable is
# healed, the same node serves the next pull.
source "$here/pulls.sh"

limit 200mbit
serve 50000000
pull 9
wait_until 20 received 10000000
cut
# The peer is given up after 5 s of silence, and is tried again until the time is up.
failed_with deadlineExceeded
heal
pull 20
pulled 50000000
