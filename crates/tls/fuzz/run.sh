#!/bin/sh
# Fuzzes this crate; tests/tools/fuzz.sh does it, and says what else there is.
#
#   crates/tls/fuzz/run.sh smoke
#   crates/tls/fuzz/run.sh server -runs=100000000
set -eu
exec "$(dirname "$0")/../../../tests/tools/fuzz.sh" tls 2000 'server client conversation' "$@"
