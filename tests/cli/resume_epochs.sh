#!/bin/bash
# A resume in the second epoch, with a short last step in each, goes on in the order of a run that
# was never stopped: the same weights and log. trainer_state.json and event files come with it.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
run() { # OUTPUT KEY=VALUE...
    local output=$1
    shift
    "$graft" sft recipes/embedded_sft.yaml output_dir="$output" data_max=3 data_min=0 data_holdout=0 \
        per_device_train_batch_size=2 gradient_accumulation_steps=3 max_steps=9 save_steps=5 \
        save_total_limit=null seed=11 threads=1 warmup_steps=0 report_to=tensorboard "$@"
}
plain() { # FILE: the log without what the clock decides
    sed -E 's/,"(step_time|time\/[a-z]+|limit_fraction)":[^,}]*//g' "$1"
}
run "$work/whole" >/dev/null 2>&1 || { echo "FAIL: the run"; failures=1; }
[ "$(wc -l <"$work/whole/log.jsonl")" -eq 9 ] || { echo "FAIL: steps in the log"; failures=1; }
grep -q '"step":3,"epoch":1.0' "$work/whole/log.jsonl" || { echo "FAIL: three steps an epoch"; failures=1; }
cp -r "$work/whole" "$work/again"
rm -r "$work/again/checkpoint-9" "$work/again/model.safetensors" "$work/again/trainer_state.json"
run "$work/again" 2>"$work/err" >/dev/null || { echo "FAIL: the resumed run"; failures=1; }
grep -q "resumed from .*checkpoint-5" "$work/err" || { echo "FAIL: no resume"; failures=1; }
cmp "$work/whole/model.safetensors" "$work/again/model.safetensors" || failures=1
diff <(plain "$work/whole/log.jsonl") <(plain "$work/again/log.jsonl") || failures=1
grep -q '"global_step": 9' "$work/again/trainer_state.json" || { echo "FAIL: state"; failures=1; }
grep -q '"global_step": 5' "$work/again/checkpoint-5/trainer_state.json" || failures=1
[ "$(ls "$work/again/runs" | wc -l)" -ge 1 ] || { echo "FAIL: event files"; failures=1; }
grep -qa 'train/loss' "$work"/again/runs/events.out.tfevents.* || failures=1

# Under a constant rate a finished run goes on to more steps, as if it had been that long at once;
# where the rate follows the run's length, it can't.
run "$work/longer" max_steps=4 >/dev/null 2>&1 || failures=1
run "$work/longer" >/dev/null 2>&1 || { echo "FAIL: go on"; failures=1; }
cmp "$work/longer/model.safetensors" "$work/whole/model.safetensors" || failures=1
run "$work/linear" max_steps=2 lr_scheduler_type=linear >/dev/null 2>&1 || failures=1
expect 2 "max_steps differ" run "$work/linear" max_steps=4 lr_scheduler_type=linear
finish
