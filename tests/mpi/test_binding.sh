#!/usr/bin/env bash
# Threads are pinned, one to a CPU, when those of all ranks of the node fill the CPUs; else they are free.
. "$(dirname "$0")/common.sh"
allowed=$(nproc)
if [ "$allowed" -lt 2 ]; then
    echo "one CPU: nothing to tell apart"
    exit 0
fi
first=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')

# masks COMMAND...: the CPU lists of the run's threads while it trains, a line per process, each sorted
masks() {
    local out=$scratch/run pid list found
    rm -rf "$out"
    "$@" sft recipes/embedded_sft.yaml output_dir="$out" max_steps=100000 save_steps=100000 \
        logging_steps=1 ${threads:+threads=$threads} >/dev/null 2>&1 &
    local job=$!
    for _ in $(seq 600); do
        [ -s "$out/log.jsonl" ] && break
        sleep 0.05
    done
    [ -s "$out/log.jsonl" ] || { echo "no step: $*" >&2; return 1; }
    for pid in $(pgrep -f "output_dir=$out " | sort -n); do
        grep -q mpirun "/proc/$pid/cmdline" && continue
        [ "$(cat "/proc/$pid/comm")" = graft ] || continue
        list=""
        for found in /proc/"$pid"/task/*; do
            # MPI's own threads sleep: those that computed are the pool's.
            [ "$(awk '{ print $14 + $15 }' <"$found/stat")" -gt 0 ] || continue
            list="$list $(sed -n 's/Cpus_allowed_list:\t//p' "$found/status")"
        done
        echo "$list" | tr ' ' '\n' | grep . | sort -V | tr '\n' ' '
        echo
    done | sort -V
    kill -9 "$job" 2>/dev/null || true
    for pid in $(pgrep -f "output_dir=$out "); do
        kill -9 "$pid" 2>/dev/null || true
    done
    wait "$job" 2>/dev/null || true
}

expect() { # WORDS GOT WHAT
    echo "$3: $(echo "$2" | tr '\n' '|')"
    [ "$1" = "$(echo "$2" | sed 's/ *$//')" ] || { echo "FAIL: expected '$1'"; exit 1; }
}

two=$(python3 -c "import os; print(*sorted(os.sched_getaffinity(0))[:2], sep=',')")
second=${two#*,}
all=$(taskset -cp $$ | sed 's/.*: //')
both=$first-$second
[ "$second" -eq $((first + 1)) ] || both=$two

export threads=2
expect "$first $second" "$(masks taskset -c "$two" "$GRAFT_BINARY")" "two threads on two CPUs"
expect "$both $both" "$(GRAFT_PIN=0 masks taskset -c "$two" "$GRAFT_BINARY")" "GRAFT_PIN=0"
export threads=1
expect "$second" "$(masks taskset -c "$second" "$GRAFT_BINARY")" "one CPU allowed"
expect "$both" "$(masks taskset -c "$two" "$GRAFT_BINARY")" "a CPU is left for others"
expect "$first
$second" "$(masks taskset -c "$two" mpirun -n 2 "$GRAFT_BINARY")" "two ranks on two CPUs"
expect "$both
$both" "$(GRAFT_PIN=0 masks taskset -c "$two" mpirun -n 2 "$GRAFT_BINARY")" "two ranks, GRAFT_PIN=0"
expect "$second
$second" "$(masks taskset -c "$second" mpirun -n 2 "$GRAFT_BINARY")" "more ranks than CPUs"

# A launcher's binding to one core gives way to the node's share: both CPUs for a rank alone.
export threads=
expect "$first $second" "$(OMPI_MCA_hwloc_base_binding_policy=core masks taskset -c "$two" \
    mpirun -n 1 "$GRAFT_BINARY")" "one rank that the launcher bound to a core"
echo ok
