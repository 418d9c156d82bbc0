#!/bin/bash
# graft reward: scores, order on many threads, calls, parameters, and every kind of bad input.
. "$(dirname "$0")/lib/common.sh"
cd "$work" || exit 1

cat >rows.jsonl <<'END'
{"completion":"<think>\na\n</think>\n<answer>\n\\boxed{7}\n</answer>","solution":"$7$","prompt":"3+4"}

{"completion":[{"role":"assistant","content":"\\boxed{8}"}],"solution":"$7$"}
{"completion":"\\boxed{7}","prompt":[{"role":"user","content":"?"}]}
END
expect 0 "" "$graft" reward --name accuracy,format --input rows.jsonl
cat >want <<'END'
{"scores":{"accuracy":1.0,"format":1.0},"reward":2.0}
{"scores":{"accuracy":0.0,"format":0.0},"reward":0.0}
{"scores":{"accuracy":null,"format":0.0},"reward":0.0,"reasons":{"accuracy":"the row has no gold answer"}}
END
cmp want out || { echo "FAIL: accuracy, format"; cat out; failures=1; }
expect 0 "" "$graft" reward --name accuracy_reward,format reward_weights=2,0.5 --input rows.jsonl --limit 1
holds '"reward":2.5}'
expect 0 "" "$graft" reward --name accuracy --input rows.jsonl --output scores.jsonl
[ "$(wc -l <scores.jsonl)" -eq 3 ] || { echo "FAIL: not 3 rows"; failures=1; }

# Calls: lists are columns; single rows by their column call.
printf '%s\n' '{"completions":["\\boxed{7}","\\boxed{7}...."],"solution":["$7$","$7$"]}' >call.jsonl
expect 0 "" "$graft" reward --name length --input call.jsonl
holds '{"scores":{"length":[0.5,-0.5]},"reward":[0.5,-0.5]}'
dots=
: >calls.jsonl
for c in 1 1 2 2; do
    printf '{"completion":"\\\\boxed{7}%s","solution":"$7$","call":%d}\n' "$dots" $c >>calls.jsonl
    dots=$dots..
done
expect 0 "" "$graft" reward --name length --input calls.jsonl
[ "$(grep -c '"length":0.5' out)" -eq 2 ] && [ "$(grep -c '"length":-0.5' out)" -eq 2 ] ||
    { echo "FAIL: calls"; cat out; failures=1; }
sed 's/,"call":.//' calls.jsonl >one.jsonl
expect 0 "" "$graft" reward --name length --input one.jsonl
[ "$(grep -c '"length":0.5' out)" -eq 1 ] || { echo "FAIL: one call"; cat out; failures=1; }

# The order of the rows, on any number of threads.
for i in $(seq 6000); do
    printf '{"completion":"","completion_length":%d}\n' "$i"
done >many.jsonl
for threads in 1 7; do
    "$graft" reward --name soft_overlong_punishment max_completion_len=6000 soft_punish_cache=6000 \
        --input many.jsonl --threads $threads --output "many.$threads"
done
cmp many.1 many.7 || { echo "FAIL: threads differ"; failures=1; }
sed -n 1p many.7 | grep -q -- '-0.000166' && sed -n 6000p many.7 | grep -q -- '-1.0' ||
    { echo "FAIL: order"; failures=1; }

expect 0 "" "$graft" reward --name repetition_penalty_reward ngram_size=1 --input <(
    echo '{"completion":"x","completion_ids":[4,4]}')
holds '"repetition_penalty_reward":-0.5'

# Bad input.
expect 2 "--name is missing: one or more of accuracy" "$graft" reward --input rows.jsonl
expect 2 "reward 'acuracy' is not known; use accuracy" "$graft" reward --name acuracy
expect 2 "no chosen reward has a parameter cosine_max_length, did you mean cosine_max_len?" \
    "$graft" reward --name cosine cosine_max_length=3 --input rows.jsonl
expect 2 "no chosen reward has a parameter max_len" "$graft" reward --name format max_len=3
expect 2 "cosine_max_len is a whole number from 1" "$graft" reward --name cosine max_len=0 \
    --input rows.jsonl
expect 2 "cosine_max_len is a whole number" "$graft" reward --name cosine max_len=ten --input rows.jsonl
expect 2 "judge_rule 'lax'; use math-verify or strict" "$graft" reward --name accuracy \
    judge_rule=lax --input rows.jsonl
expect 2 "repetition_max_penalty is a number from -1e+09 to 0" "$graft" reward \
    --name repetition_penalty max_penalty=1 --input rows.jsonl
expect 2 "reward_weights=1: 2 numbers" "$graft" reward --name format,accuracy \
    reward_weights=1 --input rows.jsonl
expect 3 "nothing.jsonl: No such file" "$graft" reward --name format --input nothing.jsonl
cat rows.jsonl - >bad.jsonl <<'END'
{"completion":5}
END
expect 3 'bad.jsonl:5: a row needs "completion"' "$graft" reward --name format --input bad.jsonl \
    --output never.jsonl
[ ! -e never.jsonl ] || { echo "FAIL: a result of a failed command is left"; failures=1; }
cat rows.jsonl - >bad.jsonl <<'END'
{"completion":"a","completion_ids":[1,-2]}
END
expect 3 'bad.jsonl:5: reward input: ids[1] is no token id' "$graft" reward --name format,length \
    --input bad.jsonl
printf '{"completion":"a"}\n{"completions":[]}\n' >bad.jsonl
expect 3 'bad.jsonl:2: "completions" is no list' "$graft" reward --name length --input bad.jsonl
printf '{"completions":["a",3]}\n' >bad.jsonl
expect 3 'bad.jsonl:1: completion 2: a row needs' "$graft" reward --name length --input bad.jsonl
printf '{"completion":"a"}\n[1]\n' >bad.jsonl
expect 3 "bad.jsonl:2: not a JSON object" "$graft" reward --name format --input bad.jsonl
printf '{"completion":"a\xff"}\n' >bad.jsonl
expect 3 "bad.jsonl:1: not a JSON object" "$graft" reward --name format --input bad.jsonl
finish
