# The functions of the scenarios, which run in the guest: devices rxe0 at 10.0.0.1 and rxe1 at 10.0.1.1,
# each of which reaches its own address alone; the tools of perftest, fabricbench and the program of the
# package's tests on PATH. Sourced by /main with scenario.sh; a command that fails ends the scenario.

readonly address_0=10.0.0.1 address_1=10.0.1.1
source /tests/scenario.sh

# report TEXT: a line that is shown when the scenario passes too.
report() { echo "    $*" >&3; }

# swift_tests FILTER: runs those tests of the package, of which there must be one at least.
swift_tests() {
    # What it has done is shown as well where its time is up.
    rayfabricPackageTests.xctest --testing-library swift-testing --filter "$1" 2>&1 | tee "$logs/tests" ||
        return 1
    grep 'Test run with [1-9]' "$logs/tests" || { echo "no test matches $1"; return 1; }
    report "$(tail -n 1 "$logs/tests")"
}

# perftest TOOL [OPTION]...: runs a tool such as ib_read_bw between two processes, on rxe0 with its IPv4
# GID, and prints its row of figures. Each has a processor of its own, because they spin.
perftest() {
    local tool=$1
    shift
    in_background "$tool" taskset 1 "$tool" -F -d rxe0 -x 1 "$@"
    wait_until 20 listens 18515
    taskset 2 "$tool" -F -d rxe0 -x 1 "$@" $address_0 >"$logs/figures" 2>&1 || { cat "$logs/figures"; return 1; }
    wait_for_end 20 "$tool"
    awk '/^ *#bytes/ { rows = 1; next } rows && /^ *[0-9]/ { print; found = 1 } END { exit !found }' "$logs/figures"
}
# listens PORT: true once a process listens at it.
listens() { netstat -ltn | grep -q ":$1 "; }

# Faults. What is done to devices is undone before the next scenario.
# remove_device DEVICE: the driver waits until no process has it open, so do it in the background where
# one has.
remove_device() { rdma link delete "$1"; }
link_down() { ip link set "$1" down; }
link_up() { ip link set "$1" up; }
restore_devices() { make-devices; }

# with_locked_memory KIB COMMAND...: runs a command that may lock no more, and so register no more, than
# this. The limit does not bind whoever has the capability.
with_locked_memory() {
    local limit=$1
    shift
    bash -c 'ulimit -l "$1" && shift && exec setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock "$@"' _ "$limit" "$@"
}
