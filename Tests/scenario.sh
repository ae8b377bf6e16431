# What the scenarios of Tests/network and Tests/rdma share: commands in the background, and waiting.
# Sourced; a command that fails ends the scenario.

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
trap 'echo "line $LINENO of ${BASH_SOURCE[0]##*/} failed: $BASH_COMMAND"' ERR

# in_background NAME COMMAND...: runs a command in the background. Its output goes to the file
# `output NAME`, its process is `process NAME`.
in_background() {
    local name=$1
    shift
    "$@" >"$logs/$name" 2>&1 &
    echo $! >"$logs/$name.process"
}
output() { echo "$logs/$1"; }
process() { cat "$logs/$1.process"; }

# fails COMMAND...: succeeds when the command does not. `!` alone would end no scenario.
fails() {
    if "$@"; then
        echo "should have failed: $*"
        return 1
    fi
}

# wait_until SECONDS COMMAND...: fails when the command has not succeeded by then.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || { echo "waited in vain for: $*"; return 1; }
        sleep 0.05
    done
}

# wait_for_end SECONDS NAME: waits until a command that was started has ended; gives its status.
wait_for_end() {
    local number
    number=$(process "$2")
    wait_until "$1" has_ended "$number" || { cat "$(output "$2")"; return 124; }
    wait "$number"
}
has_ended() { ! kill -0 "$1" || grep -q '^State:.Z' "/proc/$1/status"; }

# stop NAME: kills a command that was started.
stop() {
    kill -KILL "$(process "$1")"
    wait_for_end 5 "$1" || true
}

# skip REASON: ends the scenario as skipped.
skip() {
    echo "$1"
    exit 77
}
