#!/bin/bash
# Adapters between Graft and PEFT, both ways: a folder that Graft saved loads in PEFT without a
# warning and gives the same log-probabilities; one that PEFT saved does in Graft. Needs a python
# with peft 0.21 (GRAFT_PYTHON or python3); without it only Graft's half runs.
. "$(dirname "$0")/../cli/lib/common.sh"
here=$(cd "$(dirname "$0")" && pwd)
model=${GRAFT_SHARED:-$source/../shared}/golden/tiny_llama
writer=$(dirname "$graft")/tests/parity.test_adapter_folder
python=${GRAFT_PYTHON:-python3}
limit=1e-4

[ -f "$model/model.safetensors" ] || { echo "SKIP: $model is not there"; exit 0; }
[ -x "$writer" ] || { echo "SKIP: $writer is not built"; exit 0; }
peft=yes
"$python" -c "import peft, torch, transformers" 2>/dev/null || peft=

cd "$work" || exit 1
for i in 1 2 3 4 5; do
    awk -v s="$i" 'BEGIN {srand(s); printf "{\"ids\": [1"
        for (i = 0; i < 8 + 6 * s; i++) printf ", %d", 3 + int(rand() * 200); print "]}"}'
done >rows.jsonl

names="plain rslora patterns regex layers"
plain='"r": 4, "lora_alpha": 8, "target_modules": "all-linear"'
rslora='"r": 3, "lora_alpha": 5, "use_rslora": true, "target_modules": ["q_proj", "down_proj"]'
patterns='"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "up_proj"],
    "rank_pattern": {"up_proj": 6, "layers.0.self_attn.q_proj": 2},
    "alpha_pattern": {"^model.*v_proj": 3}'
regex='"r": 2, "lora_alpha": 8, "target_modules": ".*\\.(q|o)_proj",
    "exclude_modules": ".*\\.0\\..*o_proj"'
layers='"r": 2, "lora_alpha": 4, "target_modules": ["k_proj", "gate_proj"],
    "layers_to_transform": [1], "layers_pattern": "layers"'

graft_score() { # ADAPTER OUT
    "$graft" score --model "$model" --adapter "$1" --compute float32 --input rows.jsonl \
        --output "$2" || failures=$((failures + 1))
}

for name in $names; do
    mkdir "graft-$name"
    printf '{"peft_type": "LORA", %s}\n' "${!name}" >"$name.json"
    cp "$name.json" "graft-$name/adapter_config.json"
    GRAFT_INTEROP_MODEL=$model GRAFT_INTEROP_OUT=graft-$name "$writer" >log 2>&1 ||
        { cat log; failures=$((failures + 1)); }
    graft_score "graft-$name" "graft-$name.ours"
    [ "$(wc -l <"graft-$name.ours")" -eq 5 ] || { echo "FAIL: $name: rows"; failures=1; }
done
if [ ! "$peft" ]; then
    echo "SKIP: $python has no peft; only Graft's half ran"
    finish
fi

# shellcheck disable=SC2086 # a list of names
"$python" "$here/peft_interop.py" run "$model" rows.jsonl $names >log 2>&1 ||
    { tail -3 log; failures=$((failures + 1)); }
for name in $names; do
    graft_score "peft-$name" "peft-$name.ours"
    for from in graft peft; do
        printf '%-9s saved by %-5s, PEFT against Graft: ' "$name" "$from"
        "$python" "$here/peft_interop.py" compare "$from-$name.theirs" "$from-$name.ours" $limit ||
            failures=$((failures + 1))
    done
done
finish
