#!/bin/bash
# Wrong recipes, models, datasets and surroundings: the message says where, what and the way out,
# and the exit code is the kind of mistake (2 recipe or usage, 3 file, 4 device, 1 other).
. "$(dirname "$0")/lib/common.sh"

# also WORDS...: the last command's message holds these too
also() {
    local words
    for words in "$@"; do
        if ! grep -qF -- "$words" "$work/err"; then
            echo "FAIL: '$words' is not in the message:"
            cat "$work/err"
            failures=$((failures + 1))
        fi
    done
}

cd "$work" || exit 1

# Recipes: file, line, column, nearest key.
printf 'model_name_or_path: m\noutput_dir: o\nlearnig_rate: 1\n' >typo.yaml
expect 2 "typo.yaml:3:1: unknown key 'learnig_rate', did you mean 'learning_rate'?" \
    "$graft" sft typo.yaml
printf 'model_name_or_path: m\nlearning_rate: fast\n' >value.yaml
expect 2 "value.yaml:2:16: learning_rate is a number in" "$graft" sft value.yaml
printf 'lr_scheduler_type: cosin\n' >word.yaml
expect 2 "word.yaml:1:20: lr_scheduler_type is one of linear, cosine" "$graft" sft word.yaml
expect 2 "nowhere.yaml: No such file" "$graft" grpo nowhere.yaml

# Models that are not there or not whole: file, tensor, offset.
printf 'model_name_or_path: /nowhere/m.gguf\noutput_dir: o\nuse_peft: true\n%s\n' \
    'dataset_name: rows.jsonl' >sft.yaml
expect 3 "/nowhere/m.gguf: No such file" "$graft" sft sft.yaml
expect 2 "unknown option --learnig-rate, did you mean --learning_rate?" \
    "$graft" sft sft.yaml --learnig-rate 1
: >empty.gguf
expect 3 "empty.gguf: cut off in the magic at byte 0" "$graft" score --model empty.gguf
mkdir folder
expect 3 "folder/config.json" "$graft" score --model folder
expect 2 "--compute is bfloat16 or float32" "$graft" score --model folder --compute fp8

model=$source/recipes/embedded/model.gguf
if [ ! -f "$model" ]; then
    echo "the embedded model is not here: recipes only"
    finish
fi

# hurt KIND WORDS...: the model with that damage is refused with these words
hurt() {
    local kind=$1
    shift
    python3 "$source/tests/cli/lib/hurt_gguf.py" "$model" "$kind" "$kind.gguf" || exit 1
    expect 3 "$kind.gguf" timeout 20 "$graft" score --model "$kind.gguf"
    also "$@"
    expect 3 "$kind.gguf" timeout 20 "$graft" inspect "$kind.gguf"
}
hurt truncated "tensor 'blk." "bytes at byte" "it is cut off"
hurt magic "no GGUF file (byte 0)"
hurt keys "1152921504606846976 keys don't fit" "(byte 16)"
hurt tensors "tensors don't fit" "(byte 8)"
hurt string "a key at byte 24 has 9223372036854775808 bytes"
hurt dimension "tensor 'token_embd.weight' at byte" "overflow"
hurt dimensions "tensor 'token_embd.weight' at byte" "has 2147483648 dimensions (1 to 4)"
hurt type "tensor 'token_embd.weight' at byte 0 of the data has type 99"
hurt offset "tensor 'token_embd.weight': offset 1099511627776, expected 0"
for kind in architecture heads layers; do # well-formed files that describe no model
    python3 "$source/tests/cli/lib/hurt_gguf.py" "$model" "$kind" "$kind.gguf" || exit 1
done
expect 3 "architecture 'mamba' is not supported; known: llama," \
    "$graft" score --model architecture.gguf
expect 3 "3 attention heads do not divide into 2" "$graft" score --model heads.gguf
expect 3 "tensor 'blk.4.attn_q.weight' [128, 128] is missing" "$graft" score --model layers.gguf

cp "$source/recipes/embedded/config.json" folder/
python3 - <<'EOF'
import json, struct
header = json.dumps({"model.norm.weight": {"dtype": "F32", "shape": [128],
                                           "data_offsets": [0, 9999]}}).encode()
open("folder/model.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + bytes(512))
EOF
expect 3 "folder/model.safetensors: tensor 'model.norm.weight': data_offsets are not inside" \
    "$graft" score --model folder
truncate -s 50 folder/model.safetensors
expect 3 "bytes in a file of 50 (at byte 0)" "$graft" score --model folder
sed -i 's/"llama"/"mamba9"/' folder/config.json
expect 3 "folder/config.json: model_type 'mamba9' is not supported; known: llama," \
    "$graft" score --model folder

# Datasets: row number and the columns it has.
sft() {
    "$graft" sft sft.yaml model_name_or_path="$model" max_steps=1 "$@"
}
grpo() {
    "$graft" grpo sft.yaml model_name_or_path="$model" max_steps=1 reward_funcs=accuracy \
        max_completion_length=8 "$@"
}
printf '{"text":"1+1=2"}\n{"txet":"2","other":1}\n' >rows.jsonl
expect 3 "rows.jsonl: row 2: needs 'input_ids', 'text'" sft
also "it has 'txet', 'other'"
printf '{"text":"2"}\n{"text":\n' >rows.jsonl
expect 3 "rows.jsonl:2:" sft
expect 3 "/nowhere.jsonl: no such dataset" sft dataset_name=/nowhere.jsonl
: >rows.jsonl
expect 2 "the dataset has no row with a label (0 dropped)" sft
for method in dpo kto reward-model; do
    expect 2 "the dataset has no" "$graft" $method sft.yaml model_name_or_path="$model" max_steps=1
done
printf '{"input_ids":[1,2,3],"labels":[1,9,3]}\n' >rows.jsonl
expect 3 "rows.jsonl: row 1: labels[1] is neither -100 nor input_ids[1]" sft
printf '{"text":"2"}\n{"text":"a cat","images":["cat.png"]}\n' >rows.jsonl
expect 3 "rows.jsonl: row 2: the row has 'images' and models read text alone" sft
printf '{"text":"2","images":[],"image":null}\n{"messages":[{"role":"user","content":"a"}]}\n' >rows.jsonl
expect 3 "rows.jsonl: row 1: completion_only_loss: true needs rows with 'prompt' and 'completion'" \
    sft completion_only_loss=true
expect 2 "eos_token: '<|nowhere|>' is no token of this tokenizer" sft 'eos_token=<|nowhere|>'
printf '{"question":"1","answer":"2"}\n' >rows.jsonl
expect 3 "rows.jsonl: row 1 needs the column 'prompt'; it has 'question', 'answer'" grpo
expect 3 "rows.jsonl: row 1 needs the column 'ask'" grpo dataset_prompt_column=ask
printf '{"prompt":"1"}\n' >rows.jsonl
expect 3 "rows.jsonl: row 1 needs the column 'solution'; it has 'prompt'" grpo
printf '{"prompt":"1","answer":"1"}\n' >rows.jsonl
expect 3 "rows.jsonl: row 1 needs the column 'metadata'; it has 'prompt', 'answer'" \
    grpo reward_funcs=procedural
printf '{"prompt":"1","answer":"1"}\n{"question":"1"}\n' >rows.jsonl
expect 3 "rows.jsonl: row 2: needs the column 'prompt'; it has 'question'" \
    grpo per_device_train_batch_size=16
printf '{"prompt":"1","answer":"1"}\n{"prompt":"2","answer":"2"}\n' >rows.jsonl

# Batch arithmetic: numbers that would work.
expect 2 "= 3 completions a round is no multiple of num_generations 8" \
    grpo per_device_train_batch_size=3
also "use per_device_train_batch_size 8" "or num_generations 3"
expect 2 "generation_batch_size 12 is no multiple of per_device_train_batch_size 8" \
    grpo generation_batch_size=12 per_device_train_batch_size=8
also "; use 8"
expect 2 "num_generations is at least 2" grpo num_generations=1
expect 2 "exceed the context of 256" grpo max_completion_length=5000
expect 2 "100 problems with 200 held out, but there are 100" grpo dataset_name=sums data_max=9
also "hold out fewer"
expect 2 "shards and k_slices are powers of two" grpo shards=3
expect 2 "reward_funcs: reward 'acuracy' is not known; use accuracy, format" grpo reward_funcs=acuracy
expect 2 "procedural_tasks: 'sudoku' is not known; use countdown, basic_arithmetic" \
    grpo dataset_name=procedural procedural_tasks=sudoku
expect 2 "gcd has no key 'max_terms'; it has min_numbers" \
    grpo dataset_name=procedural procedural_tasks=gcd 'procedural_config={max_terms: 3}'
expect 2 "procedural_config: 'min_terms' is no task of this recipe" \
    grpo dataset_name=procedural 'procedural_config={min_terms: 3}'
expect 2 "data_count 100 with data_holdout 200" grpo dataset_name=procedural data_count=100 \
    data_holdout=200
expect 2 "curriculum_lower 0.9 is not below curriculum_raise 0.8" grpo dataset_name=procedural \
    curriculum=true curriculum_lower=0.9
expect 2 "match no module of this model; it has model." grpo lora_target_modules=nothing

# Surroundings.
GRAFT_ISA=sse expect 2 "GRAFT_ISA=sse: use ref, avx2, avx512 or amx" "$graft" score --model "$model"
: >file
expect 1 "file/out" sft output_dir=file/out dataset_text_field=prompt
expect 1 "/proc/nowhere: cannot make the folder" sft output_dir=/proc/nowhere/out \
    dataset_text_field=prompt
finish
