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

# What few commands need is loaded by them alone.
if ldd "$graft" | grep -E 'libhdf5|libmpi|libcurl|libkrb5|libldap'; then
    echo "FAIL: every start loads these"
    failures=1
fi

# A start only computes: the least processor time of many runs is how long it takes on a machine at
# rest, whatever this one does beside.
best=1000000
limit=10
nm "$graft" 2>/dev/null | grep -qE "__asan_init|__tsan_init|__gcov_" && limit=500
TIMEFORMAT="%3U %3S"
for _ in 1 2 3 4 5; do
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        took=$({ time "$graft" --help >/dev/null; } 2>&1 | sed 's/[^0-9 ]*//g')
        sum=$((10#${took% *} + 10#${took#* }))
        [ "$sum" -lt "$best" ] && best=$sum
    done
    [ "$best" -lt "$limit" ] && break
    sleep 1
done
echo "help: $best ms of processor time"
[ "$best" -lt "$limit" ] || { echo "FAIL: help takes $limit ms or more"; failures=1; }
finish
