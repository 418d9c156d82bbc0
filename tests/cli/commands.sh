#!/bin/bash
# inspect, estimate, doctor, tokenize, template and score on the embedded model.
. "$(dirname "$0")/lib/common.sh"
model=$(ls "$source"/recipes/embedded/*.gguf 2>/dev/null | head -1)
[ -n "$model" ] || { echo "no embedded model"; exit 1; }
cd "$work" || exit 1

expect 0 "" "$graft" inspect "$model"
holds "GGUF file"
holds "token_embd.weight"
expect 0 "" "$graft" inspect "$model" --json
holds '"kind": "GGUF file"'
expect 0 "" "$graft" estimate --model "$model"
holds "activations"
holds "K/V cache"
total=$("$graft" estimate --model "$model" --json | sed 's/.*"total": \([0-9]*\).*/\1/')
more=$("$graft" estimate --model "$model" --json micro_batch_tokens=8192 |
    sed 's/.*"total": \([0-9]*\).*/\1/')
[ "$more" -gt "$total" ] || { echo "FAIL: $more is not over $total"; failures=1; }
expect 2 "model_name_or_path is missing" "$graft" estimate
expect 0 "" "$graft" doctor --json --threads 1
holds '"best_tier"'
holds '"bf16_gflops"'
holds '"cache_gb_per_second"'
grep -q avx2 /proc/cpuinfo && holds '"avx2_fma_roof_gflops"'

printf '{"text":"12+34"}\n{"text":""}\n' >text.jsonl
expect 0 "" "$graft" tokenize --model "$model" --input text.jsonl --output ids.jsonl --no-specials
sed 's/,"text":.*/}/' ids.jsonl >only.jsonl
expect 0 "" "$graft" tokenize --model "$model" --input only.jsonl
holds '{"text":"12+34"}'
expect 0 "" "$graft" score --model "$model" --input text.jsonl --output scores.jsonl
[ "$(wc -l <scores.jsonl)" -eq 2 ] || { echo "FAIL: not 2 rows"; failures=1; }
expect 3 "text.jsonl:1: a row needs \"messages\"" "$graft" template --model "$model" \
    --input text.jsonl --output never.jsonl
[ ! -e never.jsonl ] || { echo "FAIL: a result of a failed command is left"; failures=1; }
printf '{{ messages[0].content }}<{{ add_generation_prompt }}>' >t.jinja
printf '{"messages":[{"role":"user","content":"hi"}]}\n' >messages.jsonl
expect 0 "" "$graft" template --template t.jinja --input messages.jsonl
holds '{"prompt":"hi<True>"}'
finish
