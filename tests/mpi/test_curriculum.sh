#!/usr/bin/env bash
# A curriculum moves alike on 1, 2 and 4 ranks, and a run that goes on from a checkpoint in the middle
# of a round, on another number of ranks, ends in the same bits at the same levels.
. "$(dirname "$0")/common.sh"
run="grpo recipes/demo.yaml dataset_name=procedural procedural_tasks=[chain_sum,gcd] curriculum=true
    curriculum_raise=0.05 curriculum_lower=0.02 curriculum_window=40 data_holdout=4 data_count=60
    reward_funcs=procedural world_size=4 per_device_train_batch_size=16 num_generations=8
    num_iterations=2 max_steps=6 save_steps=3 save_total_limit=null eval_on_start=false
    max_completion_length=6 log_completions=true logging_steps=1"
for n in 1 2 4; do
    ranks $n $run output_dir="$scratch/a$n" >/dev/null 2>&1
done
same completions.jsonl "$scratch/a1" "$scratch/a2" "$scratch/a4"
same adapter_model.safetensors "$scratch/a1" "$scratch/a2" "$scratch/a4"

cp -r "$scratch/a2" "$scratch/b"
rm -rf "$scratch"/b/checkpoint-6 "$scratch/b/adapter_model.safetensors"
ranks 4 $run output_dir="$scratch/b" >/dev/null 2>"$scratch/err"
grep -q "resumed from" "$scratch/err" || { cat "$scratch/err"; exit 1; }
same adapter_model.safetensors "$scratch/a1" "$scratch/b"
levels() { grep -o '"step":[0-9]*\|"curriculum/[a-z_]*":[0-9]*' "$1/log.jsonl"; }
[ "$(levels "$scratch/a1")" = "$(levels "$scratch/b")" ] || { echo "levels differ"; exit 1; }
# The levels move, so that the equality above means something.
[ "$(levels "$scratch/a1" | grep curriculum | sort -u | wc -l)" -gt 2 ] ||
    { levels "$scratch/a1"; echo "no level moves"; exit 1; }
# What dynamic sampling puts in for flat groups does not count: the first round moves the levels alike.
for n in 1 2; do
    ranks $n $run dynamic_sampling=true dynamic_sampling_waves=1 output_dir="$scratch/d$n" >/dev/null 2>&1
done
same completions.jsonl "$scratch/d1" "$scratch/d2"
[ "$(levels "$scratch/d1" | head -3)" = "$(levels "$scratch/a1" | head -3)" ] ||
    { echo "replaced groups count"; exit 1; }
echo "ranks 1, 2, 4 and a resume: byte-identical"
