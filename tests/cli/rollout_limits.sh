#!/bin/bash
# What a rollout cannot do is refused, or bounded, with a message that names the limit and the way out.
# A judge that blocks: judges.sh.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1

run="$graft grpo recipes/demo.yaml per_device_train_batch_size=8 num_generations=8 max_steps=2 threads=1
    eval_on_start=false eval_strategy=no data_count=40 data_holdout=4 max_completion_length=8
    resume=never output_dir=$work/run"
within() { # SECONDS CODE WORDS KEYS...
    local most=$1 code=$2 words=$3 begin=$SECONDS
    shift 3
    expect "$code" "$words" timeout 100 $run "$@"
    [ $((SECONDS - begin)) -le "$most" ] || { echo "FAIL: $((SECONDS - begin)) s for $*"; failures=1; }
}

# Longer than the context: the prompt of a row, or any prompt with its completion.
printf '{"prompt":"%01000d","solution":"1"}\n' 7 7 7 7 >"$work/long.jsonl"
within 20 2 "exceed the context of" dataset_name="$work/long.jsonl" max_model_length=64
grep -q "shorten the prompt or lower max_completion_length" "$work/err" \
    || { echo "FAIL: no way out"; cat "$work/err"; failures=1; }
within 20 2 "exceed the context of" max_completion_length=100000

# Pages for less than one row; as many as the message asks for do.
within 20 2 "can't hold one row" rollout_pages=1
need=$(sed -n 's/.*at least \([0-9]*\) pages are needed.*/\1/p' "$work/err")
within 20 0 "" rollout_pages="${need:-0}"

# A stop string that never comes ends at max_completion_length, and counts as cut off.
within 20 0 "" stop_strings="<never>" generation_kwargs='{"min_new_tokens":8}'
grep -q '"completions/clipped_ratio":1.0' "$work/run/log.jsonl" || { echo "FAIL: not cut off"; failures=1; }
within 20 2 "stop_strings" stop_strings="$(printf 'x%.0s' $(seq 300))"

# Regular expressions whose automaton explodes, or that nothing can match.
for regex in '((a{1,100}){1,100}){1,100}' '[ab]*a[ab]{20}' '(a|aa|aaa|aaaa)*(b{500}){500}' \
    "$(printf '(%.0s' $(seq 5000))a$(printf ')%.0s' $(seq 5000))" '.*[0-9].{18}[a-z].{18}' '(((((' \
    'a{99999999999999999999}'; do
    within 20 2 "structured_outputs_regex: regular expression" structured_outputs_regex="$regex"
done
within 20 0 "" structured_outputs_regex='[0-9]{1,3}'
finish
