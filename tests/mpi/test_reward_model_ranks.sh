#!/usr/bin/env bash
# Reward modelling ends in the same bits on 1, 2 and 4 ranks, its log too (extremes are of all ranks);
# so does GRPO that it judges.
. "$(dirname "$0")/common.sh"
mkdir "$scratch/data"
for a in 11 23 35 47 52 68 70; do
    echo "{\"prompt\": \"$a+30=\", \"chosen\": \"$((a + 30))\", \"rejected\": \"$a\"}"
done >"$scratch/data/train.jsonl"
head -5 "$scratch/data/train.jsonl" >"$scratch/data/test.jsonl"
model=$(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)
for n in 1 2 4; do
    ranks $n reward-model model_name_or_path="$model" dataset_name="$scratch/data" use_peft=true \
        lora_r=4 per_device_train_batch_size=2 world_size=2 max_steps=4 eval_strategy=steps \
        eval_steps=2 per_device_eval_batch_size=2 output_dir="$scratch/rm$n" >/dev/null
    numbers "$scratch/rm$n"
done
same adapter_model.safetensors "$scratch/rm1" "$scratch/rm2" "$scratch/rm4"
same numbers.jsonl "$scratch/rm1" "$scratch/rm2" "$scratch/rm4"
for n in 1 2; do
    ranks $n grpo recipes/demo.yaml reward_funcs="$scratch/rm1" eval_on_start=false \
        eval_strategy=no world_size=2 per_device_train_batch_size=4 num_generations=4 \
        data_count=40 data_holdout=4 max_steps=3 save_steps=100 output_dir="$scratch/judged$n" \
        >/dev/null
done
same adapter_model.safetensors "$scratch/judged1" "$scratch/judged2"
same completions.jsonl "$scratch/judged1" "$scratch/judged2"
echo "reward-model on 1, 2, 4 ranks, and grpo by it: byte-identical"
