# What the scenarios with pulls share. The program is Examples/TwoNodes.

readonly program=$build/TwoNodes key=the-key-of-the-tests
[ -x "$program" ] || skip "$program was not built (swift build)"

# serve BYTES: serves an object of that size on host a.
serve() { start a server "$program" serve $address_a:7345 "$key" "$1"; }
object() { wait_until 20 grep -q '^object' "$(output server)"; awk '{ print $2 }' "$(output server)"; }

# pull SECONDS [KEY]: begins to pull the object on host b.
pull() { start b puller "$program" pull $address_a:7345 "${2:-$key}" "$(object)" "$1"; }

# received BYTES: true once host b has received that much.
received() { [ "$(on b awk '/cable:/ { print $2 }' /proc/net/dev)" -ge "$1" ]; }

# pulled BYTES: the puller has ended well, and every word was right.
pulled() {
    wait_for_end 60 puller || { cat "$(output puller)"; return 1; }
    cat "$(output puller)"
    grep -q "^pulled $1 bytes, 0 words wrong" "$(output puller)"
}

# failed_with CODE: the puller has ended with this error and exit status 1.
failed_with() {
    local status=0
    wait_for_end 60 puller || status=$?
    cat "$(output puller)"
    [ $status = 1 ] && grep -q "^failed: $1" "$(output puller)"
}
