#!/bin/bash
# graft export: each format, and that a merged model scores like base and adapter together.
. "$(dirname "$0")/lib/common.sh"
golden=${GRAFT_SHARED:-$source/../shared}/golden/adapters
base=$golden/bases/plain

expect 2 "name a run, a checkpoint or an adapter" "$graft" export
expect 3 "/nowhere is no folder" "$graft" export /nowhere
expect 2 "--format is adapter, merged or gguf, not 'onnx'" "$graft" export "$work" --format onnx
mkdir "$work/empty"
expect 3 "holds neither adapter_config.json nor a whole checkpoint" "$graft" export "$work/empty"
if [ ! -d "$base" ]; then
    echo "skipped the rest: $base is not there"
    finish
fi

cp -r "$golden/rslora" "$work/run"
chmod -R u+w "$work/run"
cd "$work" || exit 1
expect 2 "--base is missing: the model the adapter was trained on, which is not at golden/bases/plain" \
    "$graft" export run --format merged
expect 2 "would be overwritten" "$graft" export run --output run
expect 2 "--dtype is float32, float16 or bfloat16, not 'int8'" \
    "$graft" export run --format merged --base "$base" --dtype int8

# A Hub folder: the weights as they are, the base by its Hub id, a card.
expect 0 "" "$graft" export run/ --base some/model
holds "run-adapter"
cmp run/adapter_model.safetensors run-adapter/adapter_model.safetensors || failures=1
grep -q '"base_model_name_or_path": "some/model"' run-adapter/adapter_config.json || failures=1
grep -q "base_model:adapter:some/model" run-adapter/README.md || { echo "FAIL: card"; failures=1; }
printf -- '---\nbase_model: tiny\ntags:\n- lora\n---\n\nMine.' >run/README.md
expect 0 "" "$graft" export run --base some/model --output carded
printf -- '---\nbase_model: some/model\ntags:\n- lora\n---\n\nMine.' | cmp - carded/README.md ||
    { echo "FAIL: the card's base"; failures=1; }
rm run/README.md

# score MODEL [ADAPTER]: the log-probabilities, one a line
score() {
    "$graft" score --model "$1" ${2:+--adapter "$2"} --compute float32 --input rows.jsonl \
        --output scored.jsonl || failures=1
    tr '[,' '\n\n' <scored.jsonl | sed -n 's/^ *\(-[0-9.e+-]*\).*/\1/p'
}
# apart FILE FILE: largest difference between two lists of numbers of the same length
apart() {
    paste "$1" "$2" | awk 'NF != 2 {print "lengths"; bad = 1; exit}
        {d = $1 - $2; if (d < 0) d = -d; if (d > m) m = d} END {if (!bad) print m + 0}'
}
printf '{"ids": [1, 5, 9, 30, 77, 2, 8, 8, 64, 100]}\n{"ids": [3, 90, 41, 17]}\n' >rows.jsonl
expect 0 "no tokenizer files" "$graft" export run --format merged --base "$base" --output merged
score "$base" run >adapter.txt
score "$base" >base.txt
score merged >merged.txt
[ "$(wc -l <adapter.txt)" -eq 12 ] || { echo "FAIL: $(wc -l <adapter.txt) numbers"; failures=1; }
merged=$(apart adapter.txt merged.txt)
effect=$(apart adapter.txt base.txt)
echo "merged - adapter: $merged, adapter - base: $effect"
awk -v m="$merged" -v e="$effect" 'BEGIN {exit !(m <= 1e-4 && e > 0.1)}' </dev/null ||
    { echo "FAIL: the merged model scores differently"; failures=1; }
expect 0 "" "$graft" export run --format merged --base "$base" --output half --dtype bfloat16
grep -q '"dtype": "bfloat16"' half/config.json || { echo "FAIL: dtype"; failures=1; }

expect 0 "" "$graft" export run --format gguf --base "$base"
holds "run.gguf"
expect 0 "" "$graft" inspect run.gguf
finish
