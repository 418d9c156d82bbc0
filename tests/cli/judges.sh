#!/bin/bash
# Judges of a training run: a process for them only when a reward needs one; a judge that blocks is
# ended at its limit, which the message says, and the run goes on.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1

run="grpo recipes/demo.yaml per_device_train_batch_size=8 num_generations=8 max_steps=2 threads=1
    eval_on_start=false eval_strategy=no data_count=40 data_holdout=4 max_completion_length=6"

children() { # n=most children that a run has at once, while it runs
    local most=0
    "$graft" $run output_dir="$work/out$RANDOM" "$@" >"$work/out" 2>"$work/err" &
    local pid=$!
    while kill -0 $pid 2>/dev/null; do
        n=$(pgrep -c -P $pid)
        [ "$n" -gt "$most" ] && most=$n
        sleep 0.01
    done
    wait $pid || { echo "FAIL: run with $*"; cat "$work/err"; failures=1; }
    n=$most
}

cat >"$work/judge.sh" <<'END'
#!/bin/bash
while read -r line; do
    [ -e "$1" ] || { touch "$1"; sleep 60; } # the first completion blocks
    echo "${#line}"
done
END
chmod +x "$work/judge.sh"

children reward_funcs=repetition_penalty
[ "$n" -eq 0 ] || { echo "FAIL: $n processes for a reward that needs none"; failures=1; }
children reward_funcs=program reward_program="$work/judge.sh,$work/blocked" reward_timeout=0.5
[ "$n" -ge 1 ] || { echo "FAIL: no process for a reward that needs one"; failures=1; }
grep -q "reward 'program': no score for [12] .*over 0.5 s (reward_timeout)" "$work/err" \
    || { echo "FAIL: no message for a judge that blocks"; cat "$work/err"; failures=1; }
finish
