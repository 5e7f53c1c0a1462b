#!/bin/sh
# Line coverage of the codec by its tests, without its doc examples. Needs llvm-tools:
#
#   rustup component add llvm-tools
#   crates/codec/tests/coverage.sh           a table
#   crates/codec/tests/coverage.sh missing   the lines that nothing reached, too
#
# LLVM_TOOLS names another directory with llvm-profdata and llvm-cov of the compiler's version.
set -eu
cd "$(dirname "$0")/../../.."
host=$(rustc -vV | sed -n 's/^host: //p')
tools=${LLVM_TOOLS:-$(rustc --print sysroot)/lib/rustlib/$host/bin}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/coverage
export RUSTFLAGS='-Cinstrument-coverage'
export LLVM_PROFILE_FILE="$work/%p-%m.profraw"
programs=$(cargo test -p socktree-codec --lib --tests --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
for program in $programs; do
    (cd crates/codec && "$program" -q >/dev/null)
done

"$tools/llvm-profdata" merge -sparse "$work"/*.profraw -o "$work/merged.profdata"
objects=$(echo "$programs" | sed '1!s/^/-object /')
# shellcheck disable=SC2086 # one word each
"$tools/llvm-cov" report $objects -instr-profile="$work/merged.profdata" \
    -show-branch-summary=false -sources "$PWD/crates/codec/src"
if [ "${1:-}" = missing ]; then
    # shellcheck disable=SC2086
    "$tools/llvm-cov" show $objects -instr-profile="$work/merged.profdata" \
        -sources "$PWD/crates/codec/src" |
        grep -E '^/|^ *[0-9]+\| +0\|'
fi
