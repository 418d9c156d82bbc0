#!/usr/bin/env bash
# GRPO with world_size 4 ends in the same bits on 1, 2 and 4 ranks, sampling and training agree bit
# for bit (max |delta| = 0), with several updates per round and a reference policy, too.
. "$(dirname "$0")/common.sh"
common="recipes/demo.yaml world_size=4 per_device_train_batch_size=16 num_generations=8 max_steps=4
    eval_on_start=false save_steps=100 max_completion_length=6"
for n in 1 2 4; do
    ranks $n grpo $common output_dir="$scratch/a$n" >/dev/null
done
same adapter_model.safetensors "$scratch/a1" "$scratch/a2" "$scratch/a4"
same completions.jsonl "$scratch/a1" "$scratch/a2" "$scratch/a4"
agrees "$scratch"/a?
for n in 1 2; do
    ranks $n grpo $common num_iterations=2 beta=0.04 loss_type=grpo micro_batch_tokens=400 \
        output_dir="$scratch/b$n" >/dev/null
done
same adapter_model.safetensors "$scratch/b1" "$scratch/b2"
for n in 1 2 4; do # length compares the completions of a virtual rank's call
    ranks $n grpo $common reward_funcs=last_number,length max_steps=2 output_dir="$scratch/c$n" >/dev/null
done
same completions.jsonl "$scratch/c1" "$scratch/c2" "$scratch/c4"
same adapter_model.safetensors "$scratch/c1" "$scratch/c2" "$scratch/c4"
grep -q '"rewards/length/std":0.[0-9]*[1-9]' "$scratch/c1/log.jsonl"
echo "ranks 1, 2, 4: byte-identical; max |delta log-prob| = 0"
