#!/usr/bin/env bash
# With base_cache: bf16 GRPO and SFT end in the same bits on 1, 2 and 4 ranks, the sampler agrees with
# the training bit for bit, and the shared memory leaves nothing behind.
. "$(dirname "$0")/common.sh"
export TMPDIR="$scratch/tmp"
mkdir "$TMPDIR"
common="recipes/demo.yaml base_cache=bf16 world_size=4 per_device_train_batch_size=16 num_generations=8
    max_steps=3 eval_on_start=false save_steps=100 max_completion_length=6"
for n in 1 2 4; do
    ranks $n grpo $common output_dir="$scratch/a$n" >/dev/null
done
same adapter_model.safetensors "$scratch/a1" "$scratch/a2" "$scratch/a4"
same completions.jsonl "$scratch/a1" "$scratch/a2" "$scratch/a4"
agrees "$scratch"/a?
# The weights it multiplies are others than those of the packed base.
ranks 1 grpo $common base_cache=none output_dir="$scratch/b1" >/dev/null
if cmp -s "$scratch/a1/adapter_model.safetensors" "$scratch/b1/adapter_model.safetensors"; then
    echo "base_cache: bf16 changed nothing"
    exit 1
fi
if ls /dev/shm/graft-* "$TMPDIR"/graft-* 2>/dev/null; then
    echo "left behind"
    exit 1
fi
refused() { # message key=value ...
    local message=$1
    shift
    if "$GRAFT_BINARY" grpo $common output_dir="$scratch/c" "$@" 2>"$scratch/err"; then
        echo "$* was accepted"
        exit 1
    fi
    grep -q "$message" "$scratch/err" || { cat "$scratch/err"; exit 1; }
}
refused "with compute: float32 leave it out" compute=float32
refused "set use_peft: true" use_peft=false
echo "ranks 1, 2, 4: byte-identical; max |delta log-prob| = 0; nothing left behind"
