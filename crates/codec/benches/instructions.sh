#!/bin/sh
# Instructions per byte for decoding, by size of read and of frame. Needs valgrind.
#
#   crates/codec/benches/instructions.sh
#
# Each figure is the difference between three passes over a mebibyte and one, so that starting
# the program does not count. What it printed once stands in docs/codec-measurements.md.
set -eu
cd "$(dirname "$0")/../../.."
program=$(cargo bench -q -p socktree-codec --bench instructions --no-run --message-format=json |
    sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)

count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$@" 2>&1 >/dev/null |
        sed -n 's/.*Collected : //p'
}

printf '%8s %-11s %14s %14s %7s\n' payload how 'one-byte reads' '64 KiB reads' ratio
for payload in ${PAYLOADS:-1 4 16 64 1024}; do
    for how in ${HOW:-copied sliced tokio-util}; do
        for read in 1 65536; do
            once=$(count $read "$payload" 1 "$how")
            thrice=$(count $read "$payload" 3 "$how")
            echo "$read $once $thrice"
        done | awk -v payload="$payload" -v how="$how" '
            { frame = payload + 4; bytes = int((1048576 + frame - 1) / frame) * frame
              figure[$1] = ($3 - $2) / 2 / bytes }
            END { printf "%8d %-11s %14.2f %14.2f %7.2f\n", payload, how,
                  figure[1], figure[65536], figure[1] / figure[65536] }'
    done
done
