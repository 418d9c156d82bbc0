#!/bin/bash
# Every command ends with exit code 4 and a message when an allocation of its own fails, whichever.
# SAMPLES: how many of them per command.
. "$(dirname "$0")/../cli/lib/common.sh"
fail=${GRAFT_FAIL_ALLOCATION:?set GRAFT_FAIL_ALLOCATION to the library}
cd "$source" || exit 1
model=$source/recipes/embedded/model.gguf
echo "model_name_or_path: $model" >"$work/base.yaml"
for a in 11 23 35 47; do
    echo "{\"text\": \"$a + 30 = $((a + 30))\"}" >>"$work/text.jsonl"
    echo "{\"chosen\": \"$a + 30 = $((a + 30))\", \"rejected\": \"$a + 30 = $a\"}" >>"$work/pairs.jsonl"
    echo "{\"prompt\": \"$a + 30 =\", \"completion\": \" $a\", \"label\": $([ $a = 11 ] && echo true || echo false)}" \
        >>"$work/marked.jsonl"
done
echo '{"ids": [1, 2, 3]}' >"$work/ids.jsonl"
echo '{"context": "1+", "continuation": "2"}' >>"$work/ids.jsonl"
echo '{"gold": "\\frac{1}{2}", "answer": "$0.5$"}' >"$work/grade.jsonl"
echo '{"completion": "<think>\na\n</think>\n<answer>\n7\n</answer>", "solution": "7"}' >"$work/reward.jsonl"
sweep() { # COMMAND...
    python3 "$source/tests/oom/sweep.py" "$fail" "${SAMPLES:-10}" "$work" "$graft" "$@" ||
        failures=$((failures + 1))
}
train() { # METHOD RECIPE key=value...
    sweep "$1" "$2" threads=1 use_peft=true lora_r=4 lora_target_modules=all-linear max_steps=1 \
        world_size=1 shards=2 output_dir={out}/run "${@:3}"
}
train sft "$work/base.yaml" dataset_name="$work/text.jsonl" packing=true max_length=32
train dpo "$work/base.yaml" dataset_name="$work/pairs.jsonl"
train kto "$work/base.yaml" dataset_name="$work/marked.jsonl"
train reward-model "$work/base.yaml" dataset_name="$work/pairs.jsonl"
train distill "$work/base.yaml" dataset_name="$work/marked.jsonl" lmbda=1 max_completion_length=4 \
    teacher_model_name_or_path="$model"
train grpo "$work/base.yaml" dataset_name="$work/marked.jsonl" dataset_solution_column=completion \
    reward_funcs=[accuracy,last_number] num_generations=2 per_device_train_batch_size=4 \
    max_completion_length=4 eval_strategy=no
"$graft" sft "$work/base.yaml" dataset_name="$work/text.jsonl" threads=1 use_peft=true lora_r=4 \
    max_steps=1 output_dir="$work/adapter" >/dev/null 2>&1 || failures=$((failures + 1))
sweep sft "$work/base.yaml" dataset_name="$work/text.jsonl" threads=1 use_peft=true lora_r=4 \
    max_steps=1 output_dir="$work/adapter"
sweep eval "$work/base.yaml" dataset_name=sums data_max=99 eval_samples=2 eval_max_new_tokens=2 threads=1 \
    adapter_name_or_path="$work/adapter" --json
for format in adapter merged gguf; do
    sweep export "$work/adapter" --format $format --output {out}/export
done
sweep score --model "$model" --adapter "$work/adapter" --input "$work/ids.jsonl" --output {out}/rows --threads 1
sweep tokenize --model "$model" --input "$work/text.jsonl" --output {out}/rows
sweep grade --input "$work/grade.jsonl" --output {out}/rows
sweep reward --name accuracy,format,tag_count --input "$work/reward.jsonl" --output {out}/rows --threads 1
sweep inspect "$model"
sweep validate --print recipes/demo.yaml
sweep estimate recipes/demo.yaml
finish
