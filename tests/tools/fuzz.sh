#!/bin/sh
# Fuzzes a crate with libFuzzer, on the stable toolchain. For the run.sh of the crates, which give the
# first three arguments: the crate's folder, how long an input may be, and the names of the targets.
#
#   run.sh build                     tells if the targets can be built here
#   run.sh smoke                     ten seconds of each target
#   run.sh TARGET -runs=100000000    a campaign
#   run.sh minimise                  fold what was found into tests/corpus
#
# With FAST=1 comparisons are not traced: twice to three times the speed, for a long campaign that starts
# from a corpus that was found with them.
#
# All that it makes goes to target/fuzz-CRATE of the workspace: programs, new inputs to corpus, and what
# crashed to artifacts.
set -eu
crate=$1 max_len=$2 targets=$3
shift 3
cd "$(dirname "$0")/../../crates/$crate/fuzz"
: "${CARGO_TARGET_DIR:=$PWD/../../../target}"
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/fuzz-$crate"
mkdir -p "$CARGO_TARGET_DIR"
work=$(cd "$CARGO_TARGET_DIR" && pwd)
kept=../tests/corpus

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
cargo build -q --locked --release --bins --target "$host"
programs="$work/$host/release"

fuzz() {
    target=$1
    shift
    mkdir -p "$work/corpus/$target" "$work/artifacts/$target"
    "$programs/$target" -max_len="$max_len" -len_control=20 -print_final_stats=1 \
        -artifact_prefix="$work/artifacts/$target/" "$@" "$work/corpus/$target" "$kept/$target"
}

# Files that libFuzzer made are named after their content; those with a speaking name stay.
hashed() {
    find "$1" -type f | grep -E '/[0-9a-f]{40}$' || true
}

# One input for each new piece of code that is reached; how often it is reached does not count, or
# the corpus would be a thousand files.
minimise() {
    target=$1
    mkdir -p "$work/corpus/$target"
    found=$(mktemp -d)
    cp "$kept/$target"/* "$found"
    hashed "$found" | xargs -r rm
    "$programs/$target" -merge=1 -use_counters=0 -max_len="$max_len" "$found" \
        "$kept/$target" "$work/corpus/$target"
    hashed "$kept/$target" | xargs -r rm
    hashed "$found" | xargs -r cp -t "$kept/$target"
    rm -r "$found"
}

case ${1:?a target, build, smoke or minimise} in
build) ;;
smoke)
    for target in $targets; do
        fuzz "$target" -max_total_time=10 -verbosity=0
    done
    ;;
minimise)
    for target in $targets; do
        minimise "$target"
    done
    ;;
*)
    fuzz "$@"
    ;;
esac
