#!/usr/bin/env bash
# DPO, and GRPO whose reward comes from worker processes, end in the same bits on 1, 2 and 4 ranks.
. "$(dirname "$0")/common.sh"
for a in 11 23 35 47 52 68; do
    echo "{\"prompt\": \"$a+30=\", \"chosen\": \"$((a + 30))\", \"rejected\": \"$a\"}"
done >"$scratch/pairs.jsonl"
model=$(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)
for n in 1 2 4; do
    ranks $n dpo model_name_or_path="$model" dataset_name="$scratch/pairs.jsonl" use_peft=true lora_r=4 \
        learning_rate=1e-3 per_device_train_batch_size=3 world_size=2 max_steps=3 save_steps=100 \
        loss_type=sigmoid,aot output_dir="$scratch/dpo$n" >/dev/null
done
same adapter_model.safetensors "$scratch/dpo1" "$scratch/dpo2" "$scratch/dpo4"

# The judge's delays depend on the process, the scores on the completion alone.
cat >"$scratch/judge.sh" <<'END'
#!/bin/bash
while read -r line; do
    said=${line#*'"completion":"'}
    said=${said%%'"'*}
    sleep "0.0$((RANDOM % 4))"
    echo "${#said}"
done
END
chmod +x "$scratch/judge.sh"
for n in 1 2 4; do
    ranks $n grpo recipes/demo.yaml reward_funcs=program reward_program="$scratch/judge.sh" \
        eval_on_start=false eval_strategy=no world_size=4 per_device_train_batch_size=4 \
        num_generations=4 data_count=40 data_holdout=4 max_steps=3 save_steps=100 \
        output_dir="$scratch/judged$n" >/dev/null
done
same adapter_model.safetensors "$scratch/judged1" "$scratch/judged2" "$scratch/judged4"
same completions.jsonl "$scratch/judged1" "$scratch/judged2" "$scratch/judged4"
echo "dpo and judged grpo on 1, 2, 4 ranks: byte-identical"
