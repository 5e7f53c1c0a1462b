#!/usr/bin/env bash
# Counts what one message, process or call costs the kernel: things that do not drift with the machine's
# speed.
#
#     docs/bench/kernel.sh instructions|allocations BENCH..
#
# BENCH is one of the measurements of `cargo run --release -p socktree-bench --bin micro`. Each runs with
# two numbers of rounds, and the differences are divided, so that the start and the end do not count.
# Needs valgrind.
set -euo pipefail

[[ $# -ge 2 ]] || { sed -n '2,9p' "$0"; exit 2; }
what=$1
shift
micro=${CARGO_TARGET_DIR:-target}/release/micro

# count BENCH ROUNDS
count() {
    case $what in
        instructions) valgrind --tool=callgrind --callgrind-out-file=/dev/null "$micro" "$1" --n "$2" 2>&1 |
            grep -oP 'Collected : \K\d+' ;;
        allocations) valgrind --tool=memcheck --leak-check=no "$micro" "$1" --n "$2" 2>&1 |
            grep -oP 'total heap usage: \K[\d,]+' | tr -d , ;;
        *) echo "no such count: $what" >&2; exit 2 ;;
    esac
}

cargo build --quiet --release -p socktree-bench --bin micro
for bench in "$@"; do
    few=$(count "$bench" 20000) many=$(count "$bench" 40000)
    # A round to and fro is two messages.
    per=20000
    [[ $bench != pingpong ]] || per=40000
    python3 -c "print('$bench: %.2f $what' % (($many - $few) / $per))"
done
