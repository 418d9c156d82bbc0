#!/bin/bash
# Every field that .docs/metrics.md promises is in the log of a run that has it, with a number; the
# times of the phases add up.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1

run="grpo recipes/demo.yaml per_device_train_batch_size=16 num_generations=4 max_steps=3 save_steps=1
    eval_on_start=false eval_strategy=no data_count=40 data_holdout=4 max_completion_length=6 threads=1"
seen=$work/seen
go() { # keys...
    "$graft" $run output_dir="$work/run" resume=never "$@" >"$work/out" 2>"$work/err" \
        || { echo "FAIL: run with $*"; cat "$work/err"; failures=1; }
    tail -1 "$work/run/log.jsonl" >"$work/line"
    grep -ohE '"[^"]+":-?[0-9]' "$work/run/log.jsonl" | sed 's/":.*//; s/"//' >>"$seen"
    rm -rf "$work/run"
}
go
cp "$work/line" "$work/plain"
go beta=0.1 loss_type=grpo async_rounds=1
go loss_type=cispo epsilon_high=5 entropy_coef=0.01
go loss_type=vespo vllm_importance_sampling_mode=token_truncate speculation=always rollout_rows=4
go num_iterations=2
go dynamic_sampling=true rollout_pages=4 rollout_page_size=32

# Names of the table: words in backquotes before the second bar, with {a,b} written out.
while IFS= read -r name; do
    case $name in
    skipped_steps | rollout/replayed) continue ;; # of runs that had an accident
    esac
    for one in $(eval "echo ${name//NAME/last_number}"); do
        grep -qx "$one" "$seen" || { echo "FAIL: no $one in any log line"; failures=1; }
    done
done < <(sed -n 's/^| \(`[^|]*`\) |.*/\1/p' .docs/metrics.md | grep -oE '`[a-zA-Z0-9_/{},]+`' | tr -d '`')

number() { # field
    sed -n "s#.*\"$1\":\([-0-9.e]*\).*#\1#p" "$work/plain"
}
for f in step_time time/prepare time/train time/optimizer time/rollout time/judge time/score \
    limit_fraction rollout/seconds; do
    eval "v_${f//\//_}=$(number $f)"
done
awk -v s="$v_step_time" -v p="$v_time_prepare" -v t="$v_time_train" -v o="$v_time_optimizer" \
    -v r="$v_time_rollout" -v j="$v_time_judge" -v c="$v_time_score" -v l="$v_limit_fraction" 'BEGIN {
    sum = p + t + o
    if (!(sum <= s * 1.001 && sum >= 0.8 * s)) { print "FAIL: phases " sum " of a step of " s; exit 1 }
    if (!(r + j + c <= p * 1.001 && r > 0)) { print "FAIL: parts of preparing " r + j + c " of " p; exit 1 }
    if (!(l > 0 && l < 100)) { print "FAIL: limit_fraction " l; exit 1 }
}' || failures=1
finish
