#!/bin/bash
# Mixtures of datasets through the program: sft, grpo and dpo train on them, a resume goes on with the
# same rows, held-out rows are evaluated, and what makes no sense is said.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
for a in 11 23 35 47 52 64; do
    echo "{\"problem\": \"What is $a + 30?\", \"answer\": \"$((a + 30))\", \"extra\": $a}"
done >"$work/first.jsonl"
mkdir -p "$work/second/data"
for a in 12 24 36; do
    echo "{\"problem\": \"What is $a + 20?\", \"answer\": \"$((a + 20))\"}"
done >"$work/second/data/train-00000-of-00002.jsonl"
sed 's/20/10/' "$work/second/data/train-00000-of-00002.jsonl" >"$work/second/data/train-00001-of-00002.jsonl"
cat >"$work/r1.yaml" <<YAML
model_name_or_path: recipes/embedded/model.gguf
dataset_mixture:
  datasets:
    - id: $work/first.jsonl
      columns: [problem, answer]
      weight: 0.7
    - id: $work/second
      split: train[:5]
      columns: [answer, problem]
  seed: 5
  test_split_size: 2
dataset_prompt_column: problem
dataset_solution_column: answer
use_peft: true
lora_r: 4
per_device_train_batch_size: 2
world_size: 1
compute: float32
threads: 1
shards: 4
YAML
cat >"$work/trl.yaml" <<YAML
model_name_or_path: recipes/embedded/model.gguf
datasets:
  - path: json
    data_files: {train: $work/first.jsonl, test: $work/nowhere.jsonl}
    fraction: 2
  - path: $work
    data_dir: second
    fraction: 1
test_split_size: 0.3
dataset_prompt_column: problem
dataset_solution_column: answer
use_peft: true
lora_r: 4
per_device_train_batch_size: 4
world_size: 1
compute: float32
threads: 1
YAML
sft() { # RECIPE OUTPUT key=value ...
    local recipe=$1 out=$2
    shift 2
    "$graft" sft "$work/$recipe.yaml" output_dir="$work/$out" "$@"
}
# 4 of 6 and 5 rows, 2 of them held out: 7 train, 4 steps an epoch.
expect 0 "" sft r1 whole num_train_epochs=2 save_steps=3 eval_strategy=epoch
[ "$(wc -l <"$work/whole/log.jsonl")" -eq 8 ] || { echo "FAIL: 8 steps"; failures=1; }
[ "$(grep -c eval_loss "$work/whole/log.jsonl")" -eq 2 ] || { echo "FAIL: 2 evaluations"; failures=1; }
cp -r "$work/whole" "$work/again"
rm -r "$work/again/checkpoint-6" "$work/again/checkpoint-8"
expect 0 "checkpoint-3" sft r1 again num_train_epochs=2 save_steps=3 eval_strategy=epoch
cmp "$work/whole/adapter_model.safetensors" "$work/again/adapter_model.safetensors" || failures=1
expect 2 "dataset_mixture differ" sft r1 again num_train_epochs=2 \
    dataset_mixture="{\"datasets\": [{\"id\": \"$work/first.jsonl\"}]}"
# 6 of 6 and 3 of 6 rows, 3 of them held out: 6 train, 2 steps an epoch.
expect 0 "" sft trl trl num_train_epochs=1 eval_strategy=steps eval_steps=1
[ "$(wc -l <"$work/trl/log.jsonl")" -eq 2 ] || { echo "FAIL: 2 steps of TRL's"; failures=1; }
grep -q eval_loss "$work/trl/log.jsonl" || { echo "FAIL: no evaluation of TRL's"; failures=1; }
expect 0 "" "$graft" grpo "$work/r1.yaml" output_dir="$work/grpo" reward_funcs=last_number \
    num_generations=2 max_completion_length=4 max_steps=1
for a in 11 23 35; do
    echo "{\"prompt\": \"$a + 30\", \"chosen\": \"$((a + 30))\", \"rejected\": \"$a\"}"
done >"$work/pairs.jsonl"
expect 0 "" "$graft" dpo "$work/trl.yaml" output_dir="$work/dpo" max_steps=1 test_split_size=null \
    datasets="[{path: $work/pairs.jsonl}, {path: $work/pairs.jsonl, split: \"train[:1]\"}]"
grep -q '"loss":' "$work/dpo/log.jsonl" || { echo "FAIL: dpo of a mixture"; failures=1; }

bad() { # CODE WORDS key=value ...
    local code=$1 words=$2
    shift 2
    expect "$code" "$words" "$graft" sft "$work/trl.yaml" output_dir="$work/bad" max_steps=1 "$@"
}
bad 3 "no file matches $work/nowhere.jsonl" \
    datasets="[{path: json, data_files: {test: $work/nowhere.jsonl}, split: test}]"
bad 3 "no such dataset file" datasets="[{path: $work/nothing}]"
bad 2 "exclude each other" dataset_mixture="{\"datasets\": [{\"id\": \"a\"}]}"
bad 2 "eval_strategy needs held-out rows" eval_strategy=steps test_split_size=null
bad 0 "dataset_name and dataset_config have no effect" dataset_name=ignored
finish
