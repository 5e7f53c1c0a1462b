#!/bin/sh
# Instructions for a round trip through the server's side of a TLS connection, and bytes held by an
# idle one: ours and rustls with its own buffers. Needs valgrind.
#
#   crates/tls/benches/instructions.sh
#
# Each figure is the difference between 1100 round trips and 100. What it printed once stands in
# docs/tls-measurements.md.
set -eu
cd "$(dirname "$0")/../../.."
program=$(cargo bench -q -p socktree-tls --bench instructions --no-run --message-format=json |
    sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)

count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*round_trips*' \
        "$program" echo "$@" 2>&1 >/dev/null | sed -n 's/.*Collected : //p'
}

printf '%8s %-9s %12s\n' payload how instructions
for payload in ${PAYLOADS:-64 1024 16384}; do
    for how in session buffered; do
        few=$(count $how "$payload" 100)
        many=$(count $how "$payload" 1100)
        printf '%8d %-9s %12d\n' "$payload" $how $(((many - few) / 1000))
    done
done
echo
"$program" idle session
"$program" idle buffered
