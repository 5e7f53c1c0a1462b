#!/bin/sh
# Fuzzes this crate; tests/tools/fuzz.sh does it, and says what else there is.
#
#   crates/codec/fuzz/run.sh smoke
#   crates/codec/fuzz/run.sh decode -runs=100000000
set -eu
exec "$(dirname "$0")/../../../tests/tools/fuzz.sh" codec 400 'decode options round_trip switch' "$@"
