#!/usr/bin/env bash
# Groups of equal rewards are replaced by fresh prompts, alike on 1, 2 and 4 ranks; the log says how many;
# a dataset without fresh rows keeps its groups.
. "$(dirname "$0")/common.sh"
common="grpo recipes/demo.yaml world_size=4 per_device_train_batch_size=16 num_generations=4 max_steps=3
    eval_on_start=false save_steps=100 max_completion_length=6"
for n in 1 2 4; do
    ranks $n $common dynamic_sampling=true dynamic_sampling_waves=2 output_dir="$scratch/d$n" >/dev/null 2>&1
done
same adapter_model.safetensors "$scratch/d1" "$scratch/d2" "$scratch/d4"
same completions.jsonl "$scratch/d1" "$scratch/d2" "$scratch/d4"
ranks 1 $common output_dir="$scratch/plain" >/dev/null 2>&1

field() { sed -n "s/.*\"$2\": *\([0-9.]*\).*/\1/p" "$1/log.jsonl" | head -1; }
waves=$(field "$scratch/d1" dynamic_sampling\\/waves)
replaced=$(field "$scratch/d1" dynamic_sampling\\/replaced)
flat=$(field "$scratch/d1" frac_reward_zero_std)
plain=$(field "$scratch/plain" frac_reward_zero_std)
echo "flat groups: $plain without, $flat after $waves waves that replaced $replaced"
[ "$waves" = 2 ] || [ "$waves" = 1 ] || { echo "waves: '$waves'"; exit 1; }
[ "$replaced" -gt 0 ]
awk -v a="$flat" -v b="$plain" 'BEGIN { exit !(a < b) }'
! grep -q dynamic_sampling "$scratch/plain/log.jsonl"

# As many prompts as the dataset has rows: nothing fresh is left.
ranks 1 $common dynamic_sampling=true data_count=16 data_holdout=0 output_dir="$scratch/small" >/dev/null 2>&1
! grep -q dynamic_sampling/waves "$scratch/small/log.jsonl"
