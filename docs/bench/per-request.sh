#!/usr/bin/env bash
# Counts what one request costs a server: things that do not drift with the machine's speed.
#
#     BENCH=path/to/bench docs/bench/per-request.sh instructions|allocations|syscalls 'LOAD' COMMAND..
#
# LOAD is what the load generator is to do, such as 'pingpong -c 50 -s 64'. Of 'churn' a request is a
# connection, of 'stream' a MiB. In COMMAND the word PORT stands for the port to listen on. The server is
# run twice, for a short and for a long time, and the differences are divided, so that its start and its
# end do not count. Needs valgrind or strace.
set -euo pipefail

[[ $# -ge 3 && -n ${BENCH:-} ]] || { sed -n '2,10p' "$0"; exit 2; }
what=$1 load=$2
shift 2
server=("$@")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run SECONDS: leaves the count in $counted and the number of requests in $requests.
run() {
    local port=$((20000 + RANDOM % 9000)) tool
    local command=("${server[@]//PORT/$port}")
    case $what in
        instructions) tool=(valgrind --tool=callgrind --callgrind-out-file=/dev/null) ;;
        allocations) tool=(valgrind --tool=memcheck --leak-check=no) ;;
        syscalls) tool=(strace -c -f -q -o "$work/out") ;;
        *) echo "no such count: $what" >&2; exit 2 ;;
    esac
    "${tool[@]}" "${command[@]}" >"$work/log" 2>&1 &
    local pid=$!
    until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port), 1)" 2>/dev/null; do
        kill -0 "$pid" || { cat "$work/log" >&2; exit 1; }
    done
    # shellcheck disable=SC2086
    "$BENCH/loadgen/target/release/loadgen" $load -a "127.0.0.1:$port" -t "$1" -w 0 >"$work/load"
    if [[ $what == syscalls ]]; then
        # strace holds the signal back from itself, not from the server.
        kill -TERM "$(pgrep -P "$pid" | head -n 1)"
    else
        kill -TERM "$pid"
    fi
    wait "$pid" || true
    requests=$(python3 -c "import json; d = json.load(open('$work/load')); assert d['ok']
print(d.get('requests') or d.get('connections') or d['bytes'] / 2**20)")
    case $what in
        instructions) counted=$(grep -oP 'Collected : \K\d+' "$work/log" | tail -n 1) ;;
        allocations) counted=$(grep -oP 'total heap usage: \K[\d,]+' "$work/log" | tr -d ,) ;;
        syscalls) counted=$(awk '$NF == "total" { print $4 }' "$work/out") ;;
    esac
}

run 0.5
a=$counted b=$requests
run 3
python3 -c "print('$what per request: %.4f' % (($counted - $a) / ($requests - $b)))"
[[ $what != syscalls ]] || head -n 14 "$work/out"
