#!/bin/sh
# Fuzzes one target with libFuzzer, on the stable toolchain.
#
#   crates/codec/fuzz/run.sh smoke                  ten seconds of each target
#   crates/codec/fuzz/run.sh decode -runs=100000000 a campaign
#   crates/codec/fuzz/run.sh minimise               fold what was found into tests/corpus
#
# With FAST=1 comparisons are not traced: twice to three times the speed, for a long campaign that starts
# from a corpus that was found with them.
#
# New inputs go to fuzz/corpus, crashes to fuzz/artifacts; neither is committed.
set -eu
cd "$(dirname "$0")"
targets='decode options round_trip switch'

# What cargo-fuzz passes, less the sanitizer: the code has no unsafe, so memory is not in question.
# The bootstrap variable lets the stable compiler take the one pass that is not stable.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS='--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table'
if [ -z "${FAST:-}" ]; then
    RUSTFLAGS="$RUSTFLAGS -Cllvm-args=-sanitizer-coverage-trace-compares"
fi
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build -q --release --bins --target "$host"

fuzz() {
    target=$1
    shift
    mkdir -p "corpus/$target" "artifacts/$target"
    "target/$host/release/$target" -max_len=400 -len_control=20 \
        -artifact_prefix="artifacts/$target/" "$@" "corpus/$target" "../tests/corpus/$target"
}

case ${1:?a target, smoke or minimise} in
smoke)
    for target in $targets; do
        fuzz "$target" -max_total_time=10 -print_final_stats=1
    done
    ;;
minimise)
    for target in $targets; do
        found=$(mktemp -d)
        "target/$host/release/$target" -merge=1 -max_len=400 "$found" \
            "../tests/corpus/$target" "corpus/$target"
        rm -rf "../tests/corpus/$target"
        mkdir "../tests/corpus/$target"
        cp "$found"/* "../tests/corpus/$target"
        rm -r "$found"
    done
    ;;
*)
    fuzz "$@" -print_final_stats=1
    ;;
esac
