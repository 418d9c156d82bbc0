#!/bin/bash
# A run holds what `graft estimate` says, within 5 %; `memory` is honoured or refused before the run, and
# what it chooses changes no bit.
. "$(dirname "$0")/lib/common.sh"

. "$(dirname "$0")/lib/memory.sh"

python3 "$(dirname "$0")/lib/random_model.py" "$work/model" "$source/recipes/embedded/tokenizer.json" \
    384 12 || exit 1
python3 - "$work/rows.jsonl" <<'EOF'
import json, random, sys
random.seed(1)
with open(sys.argv[1], "w") as out:
    for _ in range(4):
        ids = [random.randrange(256) for _ in range(256)]
        out.write(json.dumps({"input_ids": ids, "labels": ids}) + "\n")
EOF
cat >"$work/sft.yaml" <<EOF
model_name_or_path: $work/model
dataset_name: $work/rows.jsonl
use_peft: true
lora_r: 8
lora_target_modules: all-linear
per_device_train_batch_size: 4
shards: 1
max_steps: 1
micro_batch_tokens: 1024
resume: never
output_dir: $work/run
EOF
cat >"$work/judge.py" <<'EOF'
import json, sys, zlib
for line in sys.stdin:  # scores differ inside every group, so that each is trained
    print(zlib.crc32(json.loads(line)["completion"].encode()) % 97, flush=True)
EOF
cat >"$work/grpo.yaml" <<EOF
model_name_or_path: $work/model
dataset_name: sums
data_max: 99
use_peft: true
lora_r: 8
lora_target_modules: all-linear
reward_funcs: [program]
reward_program: [python3, $work/judge.py]
num_generations: 4
per_device_train_batch_size: 16
shards: 1
max_steps: 2
micro_batch_tokens: 512
max_completion_length: 48
generation_kwargs: {min_new_tokens: 48}
eval_strategy: "no"
resume: never
output_dir: $work/run
EOF
within sft "$work/sft.yaml"
cp "$work/run/adapter_model.safetensors" "$work/plain"
within sft "$work/sft.yaml" gradient_checkpointing=true
cmp "$work/plain" "$work/run/adapter_model.safetensors" || failures=$((failures + 1))
within grpo "$work/grpo.yaml"
cp "$work/run/adapter_model.safetensors" "$work/plain_grpo"

# The base once more in bf16 is of the plan, and refused before it is made.
within sft "$work/sft.yaml" base_cache=bf16
within grpo "$work/grpo.yaml" base_cache=bf16
expect 4 "MiB are allowed (memory); leave it out" "$graft" sft "$work/sft.yaml" base_cache=bf16 memory=1MiB

for method in sft grpo; do
    plain=$work/plain
    [ $method = sft ] || plain=$work/plain_grpo
    least $method "$work/$method.yaml" "$work/run/adapter_model.safetensors" "$plain"
done

# A budget between: some of the blocks.
between=$("$graft" estimate "$work/sft.yaml" --json | sed 's/.*"total": \([0-9]*\).*/\1/')
expect 0 "" "$graft" sft "$work/sft.yaml" memory=$((between * 9 / 10))
cmp "$work/plain" "$work/run/adapter_model.safetensors" || failures=$((failures + 1))
grep -q " [1-9][0-9]* of 26 blocks" "$work/err" || { cat "$work/err"; failures=$((failures + 1)); }

smollm=${GRAFT_MODELS:-/tmp/models}/smollm2-135m-instruct-q4_1.gguf
if [ -n "${GRAFT_MEMORY_FULL:-}" ] && [ -f "$smollm" ]; then
    within sft "$work/sft.yaml" model_name_or_path="$smollm" micro_batch_tokens=256
    within grpo "$work/grpo.yaml" model_name_or_path="$smollm"
fi
finish
