#!/bin/bash
# Exit codes and messages of wrong usage, recipes and inputs; nothing here needs a model.
. "$(dirname "$0")/lib/common.sh"

expect 2 "usage: graft COMMAND" "$graft"
expect 2 "unknown command 'tokenzie', did you mean 'tokenize'?" "$graft" tokenzie
expect 2 "unknown command 'zzzzzz'" "$graft" zzzzzz
expect 2 "unknown command 'zz'" "$graft" help zz
expect 2 "unknown option --modle, did you mean --model?" "$graft" score --modle x
expect 2 "--limit needs a whole number" "$graft" score --limit many
expect 2 "--limit needs N" "$graft" score --limit
expect 2 "--json takes no value" "$graft" inspect --json=1 x
expect 2 "--compute is bfloat16 or float32, not 'half'" "$graft" score --compute half
expect 2 "--model is missing" "$graft" score
expect 2 "--model or --tokenizer is missing" "$graft" tokenize
expect 2 "name a file or folder" "$graft" inspect
expect 2 "what is 'b'?" "$graft" inspect a b
expect 3 "/nowhere" "$graft" inspect /nowhere
expect 3 "/nowhere" "$graft" score --model /nowhere
expect 3 "/nowhere" "$graft" plot /nowhere
expect 2 "name a recipe file" "$graft" validate
expect 2 "/nowhere.yaml: No such file" "$graft" validate /nowhere.yaml

cd "$work" || exit 1
printf 'model: m\n\nlora_rnak: 4\n' >typo.yaml
expect 2 "graft: typo.yaml:3:1: unknown key 'lora_rnak', did you mean 'lora_rank'?" \
    "$graft" validate typo.yaml
printf 'model: m\nuse_peft: true\noutput_dir: o\ndataset_name: sums\nuse_vllm: true\n' >good.yaml
expect 0 "note: good.yaml:5:1: key 'use_vllm' has no effect" "$graft" validate good.yaml
holds "good.yaml: a good sft recipe"
expect 0 "" "$graft" validate good.yaml num_generations=4 temperature=0.7
holds "a good grpo recipe"
expect 0 "" "$graft" validate good.yaml --learning-rate 0.25 --method grpo --print
holds "learning_rate: 0.25"
holds "generation_batch_size: 8"
cp out resolved.yaml
expect 0 "" "$graft" validate resolved.yaml --method grpo --print
cmp -s out resolved.yaml || { echo "FAIL: the resolved recipe reads back differently"; failures=1; }
expect 2 "command line: seed is a whole number" "$graft" validate good.yaml seed=x
expect 2 "no multiple of num_generations 8; use per_device_train_batch_size 8" \
    "$graft" validate good.yaml beta=0 per_device_train_batch_size=3
expect 2 "--method is sft, grpo, rloo, dpo, kto, " "$graft" validate good.yaml --method nonsense
GRAFT_TRACE=1 expect 2 "graft: at " "$graft" validate typo.yaml

for recipe in "$source"/recipes/*.yaml; do
    expect 0 "" "$graft" validate "$recipe"
done
printf 'model: m\ndataset_name: d.jsonl\neval_samples: 5\ntemperature: 0\n' >eval.yaml
expect 0 "" "$graft" validate eval.yaml
holds "a good eval recipe"
expect 2 "output_dir is missing" "$graft" validate eval.yaml --method grpo lr=1

mkdir run
printf '{"step":1,"loss":2}\n{"step":2,"loss":1}\n' >run/log.jsonl
expect 0 "" "$graft" plot run
holds "run/report.html"
grep -q "<svg" run/report.html || { echo "FAIL: no curve in report.html"; failures=1; }
expect 2 "is no name from the list" "$graft" recipes ../x
finish
