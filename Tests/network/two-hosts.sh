# The functions of the scenarios. Two hosts, `a` at 10.77.0.1 and `b` at 10.77.0.2, joined by a
# cable. Sourced by `run` inside namespaces of its own; a command that fails ends the scenario.

readonly address_a=10.77.0.1 address_b=10.77.0.2
readonly here=$(dirname "${BASH_SOURCE[0]}")
readonly build=${BUILD:-$PWD/.build/debug}
source "$here/../scenario.sh"

# on HOST COMMAND...: runs a command on a host, to its end.
on() {
    local host=$1
    shift
    nsenter --net="/run/netns/$host" "$@"
}

# start HOST NAME COMMAND...: runs a command on a host in the background. Its output goes to the
# file `output NAME`, its process is `process NAME`.
start() {
    local host=$1 name=$2
    shift 2
    # Not through `on`: the process must be the command itself.
    in_background "$name" nsenter --net="/run/netns/$host" "$@"
}

# limit RATE: slows the cable down in both directions, such as `limit 100mbit`.
limit() {
    local host
    for host in a b; do
        on "$host" tc qdisc replace dev cable root tbf rate "$1" burst 256kb limit 4mb
    done
}

# cut [HOST]: drops every packet that arrives, at both hosts or at one: the ends are not told.
cut() {
    local host
    for host in ${1:-a b}; do
        on "$host" nft add rule inet cable incoming drop
    done
}

# heal: the packets pass again.
heal() {
    local host
    for host in a b; do on "$host" nft flush chain inet cable incoming; done
}

make_hosts() {
    # Names of namespaces are mounts below /run, which only this process sees.
    mount --make-rprivate /
    mount -t tmpfs tmpfs /run
    ip netns add a
    ip netns add b
    ip link add cable netns a type veth peer name cable netns b
    local host address
    for host in a b; do
        address=address_$host
        on "$host" ip link set lo up
        on "$host" ip address add "${!address}/24" dev cable
        on "$host" ip link set cable up
        on "$host" nft add table inet cable
        on "$host" nft add chain inet cable incoming '{ type filter hook input priority 0; }'
    done
    wait_until 5 on a ping -c 1 -W 1 "$address_b"
}

make_hosts
