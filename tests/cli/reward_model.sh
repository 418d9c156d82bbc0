#!/bin/bash
# A reward model from preference rows: text, messages, margins; evaluation; resume; what its folder
# holds; its scores as a reward, alone and in GRPO; what is refused.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
model=$(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)
mkdir "$work/data"
for a in 11 23 35 47 52 68; do
    echo "{\"prompt\": [{\"role\": \"user\", \"content\": \"What is $a + 30?\"}], \"chosen\": [{\"role\": \"assistant\", \"content\": \"$((a + 30))\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"$a\"}], \"margin\": 0.$a}"
done >"$work/data/train.jsonl"
tail -3 "$work/data/train.jsonl" >"$work/data/test.jsonl"
echo '{"chosen": "2 + 2 = 4", "rejected": "2 + 2 = 5"}' >"$work/text.jsonl"
echo '{"chosen": "b"}' >"$work/half.jsonl"
echo '{"chosen": "b", "rejected": "c", "margin": "wide"}' >"$work/margin.jsonl"
echo '{"prompt": [], "chosen": "b", "rejected": "c"}' >"$work/mixed.jsonl"
run() { # DATA OUTPUT key=value ...
    local data=$1 out=$2
    shift 2
    "$graft" reward-model model_name_or_path="$model" use_peft=true lora_r=4 world_size=1 threads=1 \
        per_device_train_batch_size=2 compute=float32 learning_rate=1e-2 shards=4 \
        dataset_name="$work/$data" output_dir="$work/$out" "$@"
}
expect 0 "" run data a max_steps=4 save_steps=3 eval_strategy=steps eval_steps=2 \
    center_rewards_coefficient=0.01 lora_modules_to_save=score lora_task_type=SEQ_CLS
holds '"method":"reward-model"'
for key in accuracy margin mean_reward min_reward max_reward num_tokens eval_loss eval_accuracy \
    eval_margin eval_min_reward; do
    grep -q "\"$key\":" "$work/a/log.jsonl" || { echo "FAIL: no $key"; failures=1; }
done
grep -q '"task_type": *"SEQ_CLS"' "$work/a/adapter_config.json" || { echo "FAIL: task"; failures=1; }
tr -d ' \n' <"$work/a/adapter_config.json" | grep -q '"modules_to_save":\["classifier","score"\]' ||
    { echo "FAIL: modules_to_save"; failures=1; }
expect 0 "" "$graft" inspect "$work/a/adapter_model.safetensors"
holds "base_model.model.score.weight"
cp -r "$work/a" "$work/b"
rm -r "$work/b/checkpoint-4"
expect 0 "" run data b max_steps=4 save_steps=3 eval_strategy=steps eval_steps=2 \
    center_rewards_coefficient=0.01
cmp "$work/a/adapter_model.safetensors" "$work/b/adapter_model.safetensors" ||
    { echo "FAIL: resumed, the run ends elsewhere"; failures=1; }
expect 0 "" run text.jsonl c max_steps=1
expect 0 "" run data d max_steps=1 adapter_name_or_path="$work/a"
expect 3 "chosen and rejected" run half.jsonl e max_steps=1
expect 3 "margin" run margin.jsonl e max_steps=1
expect 3 "all text or all messages" run mixed.jsonl e max_steps=1
expect 2 "max_length" run data e max_steps=1 max_length=2
expect 2 "use_peft" run data e max_steps=1 use_peft=false
expect 2 "beta" run data e beta=0.1

# Its scores: graft reward, and grpo beside another reward.
echo '{"prompt": [{"role": "user", "content": "What is 11 + 30?"}], "completion": "41"}' >"$work/rows.jsonl"
echo '{"prompt": "11 + 30 =", "completion": " 41"}' >>"$work/rows.jsonl"
expect 0 "" "$graft" reward --name "$work/a" --input "$work/rows.jsonl" --output "$work/scores.jsonl"
[ "$(grep -c '"reward":-\?[0-9]' "$work/scores.jsonl")" = 2 ] || { echo "FAIL: scores"; failures=1; }
rl() { # OUTPUT key=value ...
    local out=$1
    shift
    "$graft" grpo recipes/demo.yaml output_dir="$work/$out" eval_on_start=false eval_strategy=no \
        per_device_train_batch_size=8 num_generations=4 threads=1 data_count=40 data_holdout=4 \
        max_steps=2 "$@"
}
expect 0 "" rl g reward_funcs="$work/a,last_number" reward_weights=1,0.5
grep -q '"rewards/a/mean":' "$work/g/log.jsonl" || { echo "FAIL: no rewards/a/mean"; failures=1; }
mkdir "$work/lora"
cp "$work/a/adapter_model.safetensors" "$work/lora"
sed 's/"SEQ_CLS"/"CAUSAL_LM"/' "$work/a/adapter_config.json" >"$work/lora/adapter_config.json"
expect 3 "modules_to_save" rl h reward_funcs="$work/lora"
expect 2 "reward model's folder" rl h reward_funcs="$work/data"
expect 2 "reward_funcs" rl h reward_model_name_or_path="$work/a"
expect 2 "reward model" "$graft" export "$work/a" --format merged --base "$model" --output "$work/m"
expect 0 "" "$graft" export "$work/a" --output "$work/kept"
cmp "$work/a/adapter_model.safetensors" "$work/kept/adapter_model.safetensors" ||
    { echo "FAIL: export loses the head"; failures=1; }
finish
