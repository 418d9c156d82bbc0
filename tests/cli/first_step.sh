#!/bin/bash
# The first step of a run is there at once: opening the model, its tokenizer, the dataset, the plan of
# memory and the measured limits cost little beside it.
. "$(dirname "$0")/lib/common.sh"

# first LIMIT METHOD RECIPE key=value...: seconds from the start to the line of step 1
first() {
    python3 "$source/tests/cli/lib/first_step.py" "$1" "$graft" "${@:2}" threads=1 resume=never \
        || { echo "FAIL: the first step takes $1 s or more: ${*:2}"; failures=$((failures + 1)); }
}

python3 - "$work" <<'EOF'
import json, random, sys
random.seed(1)
words = "a train leaves the station at nine and two apples cost a dollar how much does she pay".split()
with open(sys.argv[1] + "/rows.jsonl", "w") as rows, open(sys.argv[1] + "/prompts.jsonl", "w") as prompts:
    for i in range(2000):
        text = " ".join(random.choice(words) for _ in range(15))
        rows.write(json.dumps({"text": text}) + "\n") if i < 100 else None
        prompts.write(json.dumps({"prompt": [{"role": "user", "content": text}], "solution": str(i)}) + "\n")
EOF
cat >"$work/sft.yaml" <<EOF
model_name_or_path: $source/recipes/embedded/model.gguf
dataset_name: $work/rows.jsonl
use_peft: true
lora_target_modules: all-linear
per_device_train_batch_size: 1
max_length: 64
max_steps: 2
logging_steps: 1
output_dir: $work/run
EOF
cat >"$work/grpo.yaml" <<EOF
model_name_or_path: $source/recipes/embedded/model.gguf
dataset_name: $work/prompts.jsonl
use_peft: true
lora_target_modules: all-linear
reward_funcs: [accuracy, length]
num_generations: 4
per_device_train_batch_size: 4
max_completion_length: 16
max_steps: 2
logging_steps: 1
output_dir: $work/run
EOF

slow=0
nm "$graft" 2>/dev/null | grep -qE "__asan_init|__tsan_init|__gcov_" && slow=20
smollm=${GRAFT_MODELS:-/tmp/models}/smollm2-135m-instruct-q4_1.gguf
if [ -z "${GRAFT_FIRST_STEP_FULL:-}" ]; then
    first $slow.25 sft "$work/sft.yaml"
    first $slow.5 grpo "$work/grpo.yaml"
elif [ -f "$smollm" ]; then
    first $((slow + 1)) sft "$work/sft.yaml" model_name_or_path="$smollm"
    first $((slow + 2)) grpo "$work/grpo.yaml" model_name_or_path="$smollm" # with its completions
fi
finish
