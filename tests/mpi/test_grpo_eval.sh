#!/bin/bash
# GRPO's evaluation while training: TRL's metrics, alike on any ranks and after a kill; the best
# checkpoint by eval_reward ends the run; eval_accuracy comes where its keys ask for it.
. "$(dirname "$0")/common.sh"
run() { # RANKS FOLDER key=value ...
    local n=$1 out=$2
    shift 2
    ranks "$n" grpo recipes/demo.yaml output_dir="$scratch/$out" data_holdout=6 data_max=9 \
        per_device_train_batch_size=8 num_generations=4 world_size=2 max_steps=5 shards=4 \
        eval_on_start=false eval_strategy=steps eval_steps=2 per_device_eval_batch_size=4 \
        num_generations_eval=2 save_steps=2 save_total_limit=null log_completions=false beta=0.02 \
        metric_for_best_model=reward load_best_model_at_end=true "$@" >"$scratch/$out.log" 2>&1
}
numbers() { # FOLDER: the log without what the clock decides
    sed -E 's/,"(limit_fraction|step_time|eval_runtime|eval_[a-z]*_per_second|time\/[a-z_]*|rollout\/[a-z_]*)":[^,}]*//g' \
        "$scratch/$1/log.jsonl"
}
run 1 one
run 2 two
numbers one >"$scratch/one.numbers"
numbers two | cmp - "$scratch/one.numbers" || { echo "the evaluation depends on the ranks"; exit 1; }
same adapter_model.safetensors "$scratch/one" "$scratch/two"
[ "$(grep -c eval_loss "$scratch/one/log.jsonl")" -eq 3 ] || { echo "not 3 evaluations"; exit 1; }
for key in loss reward reward_std rewards/last_number/mean rewards/last_number/std kl entropy \
    completions/mean_length completions/clipped_ratio frac_reward_zero_std clip_ratio/region_mean \
    num_tokens; do
    grep -q "\"eval_$key\":" "$scratch/one/log.jsonl" || { echo "no eval_$key"; exit 1; }
done
grep -q '"eval_accuracy":' "$scratch/one/log.jsonl" || { # demo.yaml sets eval_temperature
    echo "no eval_accuracy"; exit 1
}
best=$(grep -o '"best_global_step": [0-9]*' "$scratch/one/trainer_state.json" | grep -o '[0-9]*$')
cmp "$scratch/one/adapter_model.safetensors" "$scratch/one/checkpoint-$best/adapter_model.safetensors"
# Killed behind step 2: the order and the best of the whole run.
cp -r "$scratch/one" "$scratch/again"
rm -r "$scratch"/again/checkpoint-[45] "$scratch"/again/adapter_model.safetensors
run 2 again
numbers again | cmp - "$scratch/one.numbers" || { echo "a resume changes the run"; exit 1; }
same adapter_model.safetensors "$scratch/one" "$scratch/again"
if run 1 bad num_generations_eval=3; then echo "taken: 3 completions in batches of 8"; exit 1; fi
grep -q "per_device_eval_batch_size 4 x world_size 2 is no multiple of num_generations_eval 3; use per_device_eval_batch_size 6" \
    "$scratch/bad.log" || { cat "$scratch/bad.log"; exit 1; }
echo ok
