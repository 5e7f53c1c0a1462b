#!/usr/bin/env bash
# Measures what a TLS handshake costs a server in a unit that does not drift with the machine's speed:
# its own key exchange.
#
#     BENCH=path/to/bench docs/bench/handshake.sh SECONDS 'LOAD' COMMAND..
#
# LOAD is what the load generator is to do, such as 'churn -c 50 -s 64 --tls --insecure --resume'. In
# COMMAND the word PORT stands for the port to listen on. The server's CPU time is sampled, the kernel's
# included, and divided by that spent in X25519. Whoever speaks TLS 1.3 by the same build of ring spends
# the same instructions on that, twice a handshake; so two servers compare by these quotients, whatever
# the processor did meanwhile. Needs perf, and the right to see the kernel's part.
set -euo pipefail

[[ $# -ge 3 && -n ${BENCH:-} ]] || { sed -n '2,12p' "$0"; exit 2; }
seconds=$1 load=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
port=$((20000 + RANDOM % 9000))

# run SECONDS: the load, from a core of its own.
run() {
    # shellcheck disable=SC2086
    taskset -c 1 "$BENCH/loadgen/target/release/loadgen" $load -a "127.0.0.1:$port" -t "$1" -w 0
}

taskset -c 0 "${@//PORT/$port}" >"$work/log" 2>&1 &
server=$!
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port), 1)" 2>/dev/null; do
    kill -0 "$server" || { cat "$work/log" >&2; exit 1; }
done
run 0.4 >"$work/warm"
perf record -F 5000 -e cpu-clock -p "$server" -o "$work/samples" >"$work/perf" 2>&1 &
perf=$!
until [[ -s $work/samples ]]; do
    kill -0 "$perf" || { cat "$work/perf" >&2; exit 1; }
done
run "$seconds" >"$work/load"
kill -INT "$perf"
wait "$perf" || true
kill -TERM "$server"
wait "$server" || true

perf report -i "$work/samples" --no-children --stdio --sort sym -n 2>/dev/null >"$work/report"
python3 - "$work/report" "$work/load" <<'EOF'
import json, re, sys

total = kernel = exchange = 0
for line in open(sys.argv[1]):
    if sample := re.match(r"\s+[\d.]+%\s+(\d+)\s+\[(.)\]\s+(.*)", line):
        count = int(sample[1])
        total += count
        kernel += count if sample[2] == "k" else 0
        exchange += count if re.search(r"25519|^fe4?_", sample[3]) else 0
load = json.loads(open(sys.argv[2]).read().splitlines()[-1])
assert load["ok"], load
print(f"{load['connections']} handshakes, {total} samples, {exchange} of them key exchange: "
      f"total {total / exchange:.3f}, user {(total - kernel) / exchange:.3f}, kernel {kernel / exchange:.3f}")
EOF
