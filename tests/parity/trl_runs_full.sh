#!/bin/bash
# Reward models and distillation against TRL's RewardTrainer and GKDTrainer, run here and now: losses,
# gradients, metrics and final adapters of three and five runs; folders that Graft and PEFT saved score
# alike in both. Needs a python with trl 1.16 (GRAFT_PYTHON or python3).
. "$(dirname "$0")/../cli/lib/common.sh"
here=$(cd "$(dirname "$0")" && pwd)
shared=${GRAFT_SHARED:-$source/../shared}
python=${GRAFT_PYTHON:-python3}
checkers=$(dirname "$graft")/tests
limit=1e-4

[ -f "$shared/golden/generate/train_common.py" ] || { echo "SKIP: no golden/generate"; exit 0; }
[ -x "$checkers/parity.test_distill_runs" ] || { echo "SKIP: the tests are not built"; exit 0; }
"$python" -c "import trl, peft, torch" 2>/dev/null || { echo "SKIP: $python has no trl"; exit 0; }

cd "$work" || exit 1
"$python" "$here/trl_runs_full.py" make "$shared" "$work" "${GRAFT_SEED:-1}" >log 2>&1 ||
    { tail -5 log; exit 1; }
for name in reward_model distill; do
    GRAFT_SHARED=$work "$checkers/parity.test_${name}_runs" 2>&1 | grep -E "^  |ERROR|FAILED"
    [ "${PIPESTATUS[0]}" -eq 0 ] || failures=1
done

base=$work/golden/tiny_llama
expect 0 "" "$graft" reward-model model_name_or_path="$base" dataset_name="$work/pairs.jsonl" \
    output_dir="$work/ours" use_peft=true lora_r=4 max_steps=4 per_device_train_batch_size=4 \
    learning_rate=1e-2 compute=float32 world_size=1
for folder in ours peft; do
    sed -i "s|\"base_model_name_or_path\": *\"[^\"]*\"|\"base_model_name_or_path\": \"$base\"|" \
        "$folder/adapter_config.json"
    expect 0 "" "$graft" reward --name "$work/$folder" --input rows.jsonl --output "$folder.scores"
    printf 'scores by a folder of %s, PEFT against Graft: ' "$folder"
    "$python" "$here/trl_runs_full.py" score "$base" "$work/$folder" rows.jsonl "$folder.scores" \
        $limit 2>log || { tail -3 log; failures=$((failures + 1)); }
done
finish
