#!/bin/bash
# graft grade: verdicts in the order of the rows, rules, bad rows, any bytes.
. "$(dirname "$0")/lib/common.sh"
cd "$work" || exit 1

cat >rows.jsonl <<'ROWS'
{"gold": "$\\frac{1}{2}$", "answer": "\\boxed{0.5}"}
{"gold": "no number", "answer": "\\boxed{1}"}
{"gold": "$3$", "answer": "I think 3"}
ROWS
expect 0 "" "$graft" grade --input rows.jsonl --output out.jsonl
cat >want.jsonl <<'ROWS'
{"equal":true,"reward":1.0}
{"equal":false,"reward":null,"reason":"no answer found"}
{"equal":true,"reward":0.0}
ROWS
cmp out.jsonl want.jsonl || failures=1

# The order is kept and the verdicts are the same on any number of threads.
for i in $(seq 3000); do
    echo "{\"gold\": \"\$$((i % 7))\$\", \"answer\": \"\\\\boxed{$((i % 5))}\"}"
done >many.jsonl
expect 0 "" "$graft" grade --input many.jsonl --output one.jsonl --threads 1
expect 0 "" "$graft" grade --input many.jsonl --output four.jsonl --threads 4
cmp one.jsonl four.jsonl || failures=1
[ "$(wc -l <four.jsonl)" -eq 3000 ] || { echo "FAIL: not 3000 rows"; failures=1; }

echo '{"gold": "$10^{-20}$", "answer": "$10^{-21}$"}' >tiny.jsonl
expect 0 "" "$graft" grade --input tiny.jsonl
holds '"equal":true'
expect 0 "" "$graft" grade --input tiny.jsonl --rule strict
holds '"equal":false'
expect 2 "use math-verify or strict" "$graft" grade --input tiny.jsonl --rule lenient

printf '{"gold": "1", "answer": "1"}\n{"gold": 1, "answer": "1"}\n' >bad.jsonl
expect 3 "bad.jsonl:2: a row needs" "$graft" grade --input bad.jsonl --output never.jsonl
[ ! -e never.jsonl ] || { echo "FAIL: a result of a failed command is left"; failures=1; }
printf '{"gold": "1", "answer": "1"}\n{"gold": \n' >cut.jsonl
expect 3 "cut.jsonl:2:" "$graft" grade --input cut.jsonl
finish
