#!/bin/bash
# dataset_name: procedural through eval, sft and grpo on the embedded model, and its judge on rows.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
few="dataset_name=procedural data_count=24 data_holdout=8 threads=1"

# The same questions whatever else the recipe says; another seed, other questions.
prompts() { # folder, keys ...
    local folder=$1
    shift
    "$graft" grpo recipes/demo.yaml $few reward_funcs=procedural max_steps=1 eval_on_start=false \
        per_device_train_batch_size=16 num_generations=8 max_completion_length=3 world_size=1 \
        log_completions=true output_dir="$work/$folder" "$@" >/dev/null 2>"$work/err" ||
        { echo "FAIL: grpo"; cat "$work/err"; failures=1; }
    sed 's/.*"prompt":"\(.*\)","completion".*/\1/' "$work/$folder/completions.jsonl" | sort -u
}
prompts a procedural_tasks=gcd >"$work/a.txt"
prompts b procedural_tasks=gcd learning_rate=1e-5 max_completion_length=4 >"$work/b.txt"
prompts c procedural_tasks=gcd data_split_seed=9 >"$work/c.txt"
cmp "$work/a.txt" "$work/b.txt" || { echo "FAIL: questions change with the optimizer"; failures=1; }
cmp -s "$work/a.txt" "$work/c.txt" && { echo "FAIL: the seed is not used"; failures=1; }
grep -q "Greatest Common Divisor" "$work/a.txt" || { echo "FAIL: prompts"; cat "$work/a.txt"; failures=1; }

# The difficulty reaches the questions; tasks take turns, those with short prompts fit this model.
prompts d 'procedural_config={min_value: 77, max_value: 78, max_numbers: 3}' procedural_tasks=gcd \
    >"$work/d.txt"
grep -v '7[78]' "$work/d.txt" | grep -q . && { echo "FAIL: difficulty"; cat "$work/d.txt"; failures=1; }
short="basic_arithmetic,chain_sum,gcd,lcm,prime_factorization,simple_equations,letter_counting,products"
short="$short,fraction_simplification,spell_backward,calendar_arithmetic,complex_arithmetic"
expect 0 "" "$graft" eval recipes/demo.yaml $few procedural_tasks="[$short]" data_holdout=12 \
    eval_max_new_tokens=4 output_dir="$work/eval" --json
holds '"problems":12'
lines=$(wc -l <"$work/eval/eval_samples.jsonl")
[ "$lines" -ge 12 ] || { echo "FAIL: $lines samples"; failures=1; }
expect 0 "" "$graft" sft recipes/embedded_sft.yaml $few procedural_tasks=chain_sum max_steps=2 \
    eval_on_start=false output_dir="$work/sft"

# Rows judge themselves in graft reward, metadata as an object or as text.
cat >"$work/rows.jsonl" <<'END'
{"completion":"<answer>15</answer>","task":"gcd","answer":"15","metadata":{}}
{"completion":"it is 15","answer":"15","metadata":"{\"source_dataset\":\"gcd\"}"}
{"completion":"two times three","task":"prime_factorization","answer":"2 × 3","metadata":{}}
END
expect 0 "" "$graft" reward --name procedural --input "$work/rows.jsonl"
cat >"$work/want" <<'END'
{"scores":{"procedural":1.0},"reward":1.0}
{"scores":{"procedural":0.25},"reward":0.25}
{"scores":{"procedural":null},"reward":null,"reasons":{"procedural":"the judge of prime_factorization cannot score this answer"}}
END
cmp "$work/want" "$work/out" || { echo "FAIL: scores"; cat "$work/out"; failures=1; }
finish
