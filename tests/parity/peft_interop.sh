#!/bin/bash
# Adapters between Graft and PEFT: saved by one, loaded by the other, same log-probabilities. The
# Python half runs where peft can be imported (GRAFT_PYTHON, python3, /tmp/peftvenv); without it what
# Graft saved is only read back by Graft.
. "$(dirname "$0")/../cli/lib/common.sh"

base=${GRAFT_SHARED:-$source/../shared}/golden/tiny_llama
cd "$work" || exit 1
if [ ! -d "$base" ]; then # a random model of our own
    echo "$base is not there: a random model instead"
    cp -r "$source/recipes/embedded" config
    printf 'init_from_config: config/config.json\ndataset_name: %s\n' "$work/train.jsonl" >base.yaml
    printf 'use_peft: false\nmax_steps: 1\nsave_strategy: "no"\n' >>base.yaml
    base=$work/base
fi

# Rows of ids below the smallest vocabulary; awk's own generator, fixed seed.
rows() { # COUNT FIRST_KEY
    awk -v rows="$1" -v key="$2" 'BEGIN {
        srand(7)
        for (i = 0; i < rows; i++) {
            n = 4 + int(rand() * 30)
            line = ""
            for (k = 0; k < n; k++) line = line (k ? "," : "") 3 + int(rand() * 28)
            if (key == "ids") printf "{\"ids\":[%s]}\n", line
            else printf "{\"input_ids\":[%s],\"labels\":[%s]}\n", line, line
        }
    }'
}
rows 6 ids >rows.jsonl
rows 16 input_ids >train.jsonl
[ -f base.yaml ] && expect 0 "" "$graft" sft base.yaml output_dir="$base"

cat >sft.yaml <<END
model_name_or_path: $base
dataset_name: $work/train.jsonl
use_peft: true
lora_r: 4
lora_alpha: 16
compute: float32
learning_rate: 2.0e-2
lr_scheduler_type: constant
per_device_train_batch_size: 4
max_steps: 6
save_strategy: "no"
END
mkdir graft
expect 0 "" "$graft" sft sft.yaml lora_target_modules=all-linear output_dir=graft/linear
expect 0 "" "$graft" sft sft.yaml "lora_target_modules=[q_proj, o_proj, up_proj]" use_rslora=true \
    "lora_exclude_modules=[layers.0.self_attn.o_proj]" "rank_pattern={q_proj: 2}" \
    "alpha_pattern={up_proj: 3}" output_dir=graft/patterns

# Graft reads what it saved, and the adapter does something.
score() { # ADAPTER OUTPUT
    expect 0 "" "$graft" score --model "$base" ${1:+--adapter "$1"} --compute float32 \
        --input rows.jsonl --output "$2"
}
score "" base.jsonl
for name in linear patterns; do
    score "graft/$name" "$name.jsonl"
    cmp -s base.jsonl "$name.jsonl" && { echo "FAIL: $name changes nothing"; failures=1; }
done

for python in "${GRAFT_PYTHON:-}" python3 /tmp/peftvenv/bin/python; do
    if [ -n "$python" ] && "$python" -c 'import peft' 2>/dev/null; then
        export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
        "$python" "$(cd "$(dirname "$0")" && pwd)/peft_interop.py" "$graft" "$base" "$work" || failures=1
        finish
    fi
done
echo "skipped the half in Python: peft is not installed (set GRAFT_PYTHON to a python that has it)"
finish
