#!/bin/bash
# Every command has a help that exits 0, says its usage, and is there at once.
. "$(dirname "$0")/lib/common.sh"

commands=$("$graft" --help | sed -n '/^commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
[ "$(echo "$commands" | wc -l)" -ge 9 ] || { echo "FAIL: commands: $commands"; exit 1; }
expect 0 "" "$graft" --help
expect 0 "" "$graft" --version
holds "graft "
for c in $commands; do
    expect 0 "" "$graft" "$c" --help
    holds "usage: graft $c "
    holds "--help"
    expect 0 "" "$graft" help "$c"
done
expect 0 "" "$graft" validate --help
holds "learning_rate: sft 2e-5, grpo 1e-6"
holds "also written max_seq_length"

# Median time of a help in milliseconds: 10 wanted, 50 allowed on a loaded machine.
times=$(for _ in 1 2 3 4 5 6 7 8 9 10 11; do
    begin=$(date +%s%N)
    "$graft" validate --help >/dev/null
    end=$(date +%s%N)
    echo $(((end - begin) / 10000))
done | sort -n)
median=$(echo "$times" | sed -n 6p)
echo "help: $((median / 100)).$(printf %02d $((median % 100))) ms (process start included)"
limit=5000
"$graft" --version >/dev/null
nm "$graft" 2>/dev/null | grep -q __asan_init && limit=50000
[ "$median" -le "$limit" ] || { echo "FAIL: help takes too long"; failures=1; }
finish
