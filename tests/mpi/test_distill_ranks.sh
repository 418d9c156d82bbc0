#!/usr/bin/env bash
# Distillation with sampled completions ends in the same bits on 1, 2 and 4 ranks.
. "$(dirname "$0")/common.sh"
tokens=$(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)
for a in 11 23 35 47 52 68 70; do
    echo "{\"prompt\": \"$a+30=\", \"completion\": \"$((a + 30))\"}"
done >"$scratch/rows.jsonl"
tiny_models "$tokens"
for n in 1 2 4; do
    ranks $n distill model_name_or_path="$scratch/model1" tokenizer_name_or_path="$tokens" \
        teacher_model_name_or_path="$scratch/model2" dataset_name="$scratch/rows.jsonl" \
        use_peft=true lora_r=4 per_device_train_batch_size=2 world_size=2 max_steps=5 \
        learning_rate=1e-2 max_new_tokens=12 seq_kd=true lmbda=0.5 output_dir="$scratch/d$n" \
        >/dev/null
    numbers "$scratch/d$n"
done
same adapter_model.safetensors "$scratch/d1" "$scratch/d2" "$scratch/d4"
same numbers.jsonl "$scratch/d1" "$scratch/d2" "$scratch/d4"
echo "distill on 1, 2, 4 ranks: byte-identical"
