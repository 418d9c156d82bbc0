#!/usr/bin/env bash
# KTO ends in the same bits on 1, 2 and 4 ranks, evaluation included, and when it goes on from a
# checkpoint on another number of ranks.
. "$(dirname "$0")/common.sh"
mkdir "$scratch/data"
for a in 11 23 35 47 52 68 70 84 91; do
    echo "{\"prompt\": \"$a+30=\", \"completion\": \"$((a + 30 * (a % 2)))\", \"label\": $([ $((a % 2)) = 1 ] && echo true || echo false)}"
done >"$scratch/data/train.jsonl"
head -5 "$scratch/data/train.jsonl" >"$scratch/data/test.jsonl"
model=$(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)
kto() { # RANKS OUTPUT key=value ...
    local n=$1 out=$2
    shift 2
    ranks "$n" kto model_name_or_path="$model" dataset_name="$scratch/data" use_peft=true lora_r=4 \
        learning_rate=1e-3 per_device_train_batch_size=2 world_size=2 max_steps=5 save_steps=2 \
        eval_strategy=steps eval_steps=2 per_device_eval_batch_size=2 output_dir="$scratch/$out" \
        "$@" >/dev/null
}
for n in 1 2 4; do
    kto $n "kto$n"
    numbers "$scratch/kto$n"
done
same adapter_model.safetensors "$scratch/kto1" "$scratch/kto2" "$scratch/kto4"
same numbers.jsonl "$scratch/kto1" "$scratch/kto2" "$scratch/kto4"
rm -r "$scratch/kto4/checkpoint-5" "$scratch/kto4/checkpoint-4"
kto 2 kto4
same adapter_model.safetensors "$scratch/kto1" "$scratch/kto4"
kto 2 scored precompute_ref_log_probs=true
same adapter_model.safetensors "$scratch/kto1" "$scratch/scored"
echo "kto on 1, 2, 4 ranks and resumed: byte-identical"
