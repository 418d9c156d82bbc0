#!/usr/bin/env bash
# SFT with world_size 4 ends in the same bits on 1, 2 and 4 ranks: full weights and an adapter.
. "$(dirname "$0")/common.sh"
full="recipes/embedded_sft.yaml world_size=4 per_device_train_batch_size=4 max_steps=5 save_steps=100"
for n in 1 2 4; do
    ranks $n sft $full output_dir="$scratch/full$n" >/dev/null
done
same model.safetensors "$scratch/full1" "$scratch/full2" "$scratch/full4"

# State in 8-bit blocks is every rank's own copy and stays the same one.
for n in 1 2 4; do
    ranks $n sft $full max_steps=3 optim=adamw_8bit output_dir="$scratch/eight$n" >/dev/null
done
same model.safetensors "$scratch/eight1" "$scratch/eight2" "$scratch/eight4"

lora="recipes/embedded_sft.yaml init_from_config=null model_name_or_path=$scratch/full1 use_peft=true
    lora_r=4 lora_target_modules=all-linear world_size=4 per_device_train_batch_size=2
    gradient_accumulation_steps=3 compute=bfloat16 max_steps=4 save_steps=100"
for n in 1 2 3 4; do
    ranks $n sft $lora output_dir="$scratch/lora$n" >/dev/null
done
same adapter_model.safetensors "$scratch/lora1" "$scratch/lora2" "$scratch/lora3" "$scratch/lora4"
echo "ranks 1, 2, 3, 4: byte-identical"
