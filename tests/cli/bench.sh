#!/bin/bash
# Every kind of bench runs once on tiny shapes and prints the keys of the peer scripts.
. "$(dirname "$0")/lib/common.sh"

# keys LINES NAME...: standard output is that many JSON objects; each has the keys, numbers positive
keys() {
    local lines=$1
    shift
    if ! python3 - "$work/out" "$lines" "$@" <<'EOF'; then
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
assert len(rows) == int(sys.argv[2]), f"{len(rows)} lines"
for row in rows:
    for key in sys.argv[3:]:
        assert key in row, f"no {key} in {row}"
        value = row[key]
        assert not isinstance(value, float) or value > 0, f"{key}: {value}"
    assert row.get("limit_fraction", 0.5) < 1.5, row
EOF
        echo "FAIL: keys of the bench"
        failures=$((failures + 1))
    fi
}

expect 2 "name the work: sft, decode, grpo or roofline" "$graft" bench
expect 2 "no work 'stf', did you mean 'sft'?" "$graft" bench stf
expect 2 "--model is missing" "$graft" bench sft
expect 2 "--steps 2; use 3 to" "$graft" bench sft --model m --steps 2
expect 2 "--batch 1,x: use" "$graft" bench decode --model m --batch 1,x
expect 2 "--base is bf16, fp32 or nf4, not 'int8'" "$graft" bench sft --model m --base int8
expect 3 "/nowhere.gguf" "$graft" bench decode --model /nowhere.gguf

model=$source/recipes/embedded/model.gguf
if [ ! -f "$model" ]; then
    echo "the embedded model is not here: usage only"
    finish
fi
limits="peak_rss_gb compute tier threads gflops peak_gflops read_gb_per_s limit_fraction"
expect 0 "" "$graft" bench sft --model "$model" --batch 2 --seq 16 --steps 3 --threads 1
# shellcheck disable=SC2086
keys 1 peer work base batch seq checkpointing tokens_per_s step_s first_step_after_s last_loss $limits
holds '"work": "sft-lora", "batch": 2, "seq": 16, "checkpointing": false'
expect 0 "" "$graft" bench sft --model "$model" --batch 3 --seq 16 --steps 3 --tokens 20 --threads 1 \
    --base fp32 --checkpointing
holds '"checkpointing": true'
holds '"base": "fp32"'
holds '"compute": "float32"'
expect 0 "" "$graft" bench decode --model "$model" --batch 1,3 --prompt 4 --generate 4 --threads 1
# shellcheck disable=SC2086
keys 2 peer work batch prompt generate prefill_tokens_per_s decode_tokens_per_s $limits
expect 0 "" "$graft" bench grpo --model "$model" --prompts 2 --generations 2 --completion 8 \
    --steps 2 --threads 1
# shellcheck disable=SC2086
keys 1 peer work base prompts generations completion step_s generate_s rollout_tokens_per_s \
    completion_tokens_per_s $limits
expect 2 "exceed the context of 256" "$graft" bench grpo --model "$model" --prompts 2 --generations 2 \
    --completion 60000 --steps 2 --threads 1
expect 0 "" "$graft" bench roofline --threads 1
grep '"tier": "ref"' "$work/out" >"$work/ref" && mv "$work/ref" "$work/out"
keys 1 tier threads f32_gflops bf16_gflops read_gb_per_s cache_read_gb_per_s
# No product is faster than its instructions. On a shared machine one measurement may say otherwise,
# three in a row do not.
roofs() {
    python3 - "$work/out" <<'EOF'
import json, os, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
cores = len(os.sched_getaffinity(0))
for row in rows:
    for kind in ("f32", "bf16"):
        roof = row.get(f"{kind}_roof_gflops")
        assert (roof is None) == (row["tier"] == "ref"), row
        assert roof is None or row[f"{kind}_gflops"] < 1.1 * roof, row
assert {row["threads"] for row in rows} >= {1, cores}, rows
EOF
}
for try in 1 2 3; do
    expect 0 "" "$graft" bench roofline
    if roofs; then
        break
    elif [ "$try" = 3 ]; then
        echo "FAIL: roofline"
        failures=$((failures + 1))
    fi
done
finish
