#!/bin/bash
# Two of Open-R1's recipes, other than theirs in model, dataset and place alone but for the length of
# completions, train for five steps on SmolLM2 when its folder is there (GRAFT_MODELS); all of its weights.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
model=${GRAFT_MODELS:-/tmp/models}/smollm2-hf
[ -d "$model" ] || { echo "no $model: nothing to show"; exit 0; }
for a in $(seq 11 58); do
    echo "{\"messages\": [{\"role\": \"user\", \"content\": \"What is $a + 30?\"}, {\"role\": \"assistant\", \"content\": \"$((a + 30))\"}]}"
done >"$work/chats.jsonl"
for a in $(seq 11 58); do
    echo "{\"problem\": \"What is $a + 30?\", \"solution\": \"\$$((a + 30))\$\"}"
done >"$work/problems.jsonl"
train() { # METHOD RECIPE DATA key=value ...
    local method=$1 recipe=$2 data=$3
    shift 3
    expect 0 "" "$graft" "$method" "tests/data/recipes/open-r1/$recipe.yaml" \
        model_name_or_path="$model" dataset_name="$work/$data" output_dir="$work/$recipe" \
        max_steps=5 save_strategy=no "$@"
    [ "$(grep -c '"loss":' "$work/$recipe/log.jsonl")" -ge 1 ] ||
        { echo "FAIL: $recipe logged nothing"; failures=1; }
    [ -s "$work/$recipe/model.safetensors" ] || { echo "FAIL: $recipe left no model"; failures=1; }
    rm -rf "$work/$recipe"
}
train sft r1_distill_7b_sft chats.jsonl max_length=64
train grpo r1_distill_1.5b_grpo problems.jsonl max_completion_length=8
finish
