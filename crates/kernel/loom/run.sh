#!/usr/bin/env bash
# Runs the threads of the mailbox and of the wake flag in every order that they can take.
#
#     crates/kernel/loom/run.sh build  tells if the models can be built here
#     crates/kernel/loom/run.sh        every order with at most 2 preemptions: for each change
#     crates/kernel/loom/run.sh 5      with at most 5: for a night
#     crates/kernel/loom/run.sh all    with any number
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
: "${CARGO_TARGET_DIR:=$PWD/../../../target}"
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/loom"
export RUSTFLAGS="--cfg loom"

case ${1:-2} in
build) exec cargo test --quiet --locked --release --lib --no-run ;;
all) ;;
*) export LOOM_MAX_PREEMPTIONS=${1:-2} ;;
esac
cargo test --locked --release --lib interleavings
