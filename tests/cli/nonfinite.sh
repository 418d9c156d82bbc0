#!/bin/bash
# A loss that is not finite: steps are skipped and counted, the run stops after a set number with exit
# 1 and says what to do; no weight was touched.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
mkdir "$work/model"
cp recipes/embedded/tokenizer.json recipes/embedded/tokenizer_config.json "$work/model/"
sed 's/"initializer_range": 0.04/"initializer_range": 3e38/' recipes/embedded/config.json \
    >"$work/model/config.json"
run() { # OUTPUT key=value ...
    local out=$1
    shift
    "$graft" sft recipes/embedded_sft.yaml init_from_config="$work/model/config.json" \
        output_dir="$out" max_steps=9 save_steps=2 per_device_train_batch_size=2 threads=1 "$@"
}
expect 1 "not finite 3 times in a row" run "$work/run" max_nonfinite_steps=3
grep -q '"skipped_steps":3' "$work/run/log.jsonl" || { echo "FAIL: log"; failures=1; }
[ "$(wc -l <"$work/run/log.jsonl")" -eq 3 ] || { echo "FAIL: steps in the log"; failures=1; }
[ -d "$work/run/checkpoint-2" ] || { echo "FAIL: the last checkpoint is gone"; failures=1; }

# A model whose logits are not finite samples nothing: a rollout says so instead of training on it.
expect 1 "the logits of token 1 of a completion are not finite" \
    "$graft" grpo recipes/demo.yaml model_name_or_path=null init_from_config="$work/model/config.json" \
    use_peft=false compute=float32 output_dir="$work/rollout" max_steps=1 eval_on_start=false threads=1
if [ -e /dev/full ]; then
    expect 1 "standard output can't be written" bash -c '"$0" validate --keys >/dev/full' "$graft"
fi
finish
