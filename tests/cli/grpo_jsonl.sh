#!/bin/bash
# GRPO over prompts from JSONL, as messages and as a question column, with eval before and after; the run
# folder holds what it should; a second start says that the run is finished.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
mkdir "$work/data"
for split in train test; do
    for a in 11 23 35 47 59 61; do
        echo "{\"prompt\": [{\"role\": \"user\", \"content\": \"What is $a + 30?\"}], \"answer\": \"$((a + 30))\"}"
    done >"$work/data/$split.jsonl"
done
for a in 11 23 35 47; do
    echo "{\"question\": \"What is $a + 30?\", \"answer\": \"so #### $((a + 30))\"}"
done >"$work/question.jsonl"
run() { # OUTPUT key=value ...
    local out=$1
    shift
    "$graft" grpo recipes/demo.yaml output_dir="$out" max_steps=2 per_device_train_batch_size=16 \
        num_generations=4 threads=1 save_steps=1 "$@"
}
expect 0 "accuracy after" run "$work/a" dataset_name="$work/data" eval_samples=6 loss_type=grpo beta=0.1
holds '"before":{"accuracy":'
for file in adapter_model.safetensors adapter_config.json README.md recipe.yaml log.jsonl \
    completions.jsonl eval_samples.jsonl report.html checkpoint-2/state.h5 \
    checkpoint-2/trainer_state.json checkpoint-2/manifest.json; do
    [ -s "$work/a/$file" ] || { echo "FAIL: $file is missing"; failures=$((failures + 1)); }
done
grep -q '"kl":' "$work/a/log.jsonl" || { echo "FAIL: no kl in the log"; failures=1; }
[ "$(wc -l <"$work/a/completions.jsonl")" -eq 32 ] || { echo "FAIL: completions"; failures=1; }
expect 0 "already finished" run "$work/a" dataset_name="$work/data" eval_samples=6 loss_type=grpo beta=0.1
expect 0 "" run "$work/b" dataset_name="$work/question.jsonl" dataset_prompt_column=question \
    dataset_solution_column=answer eval_on_start=false reward_funcs=accuracy,format \
    reward_weights=1,0.5 per_device_train_batch_size=8 steps_per_generation=2 num_iterations=2 \
    max_steps=4
grep -q '"rewards/format/mean":' "$work/b/log.jsonl" || { echo "FAIL: no format reward"; failures=1; }
grep -q 'What is 11 + 30' "$work/b/completions.jsonl" || { echo "FAIL: prompts"; failures=1; }
finish
