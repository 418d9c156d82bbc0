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
grep -q "^pipeline_tag: text-classification$" "$work/a/README.md" || { echo "FAIL: card"; failures=1; }
expect 0 "" "$graft" export "$work/a" --output "$work/exported"
grep -q "^pipeline_tag: text-classification$" "$work/exported/README.md" ||
    { echo "FAIL: exported card"; failures=1; }
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
expect 2 "full training needs F32, F16 or BF16 weights" run data e max_steps=1 use_peft=false
expect 2 "beta" run data e beta=0.1

# Transformers' ...ForSequenceClassification: a whole model with one score is a reward model too, and
# says what the adapter says that has the same score and changes nothing else.
cat >"$work/config.json" <<'JSON'
{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
 "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 1024, "initializer_range": 0.3,
 "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "tie_word_embeddings": false}
JSON
tokens=$(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)
echo '{"text": "11 + 30 = 41"}' >"$work/one.jsonl"
expect 0 "" "$graft" sft init_from_config="$work/config.json" tokenizer_name_or_path="$tokens" \
    dataset_name="$work/one.jsonl" output_dir="$work/base" max_steps=1 learning_rate=0 threads=1
cp "$source/recipes/embedded/"token* "$work/base/"
expect 0 "" run data same model_name_or_path="$work/base" max_steps=1 learning_rate=0
python3 - "$work" <<'PY'
import json, os, struct, sys
work = sys.argv[1]

def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    head.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], data[8 + n:][slice(*v["data_offsets"])]) for k, v in head.items()}

def write(path, tensors):
    head, body = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + body)

weights = read(f"{work}/base/model.safetensors")
weights.pop("lm_head.weight")
score = read(f"{work}/same/adapter_model.safetensors")["base_model.model.score.weight"]
config = json.load(open(f"{work}/base/config.json"))
config.update(architectures=["LlamaForSequenceClassification"], num_labels=1)
for name, rows in (("whole", 1), ("labels", 2)):
    os.makedirs(f"{work}/{name}")
    for file in os.listdir(f"{work}/base"):
        if file.startswith("token"):
            open(f"{work}/{name}/{file}", "wb").write(open(f"{work}/base/{file}", "rb").read())
    json.dump(config, open(f"{work}/{name}/config.json", "w"))
    write(f"{work}/{name}/model.safetensors",
          {**weights, "score.weight": (score[0], [rows, score[1][1]], score[2] * rows)})
PY
echo '{"prompt": "11 + 30 =", "completion": " 41"}' >"$work/plain.jsonl"
echo '{"prompt": "11 + 30 =", "completion": " 5"}' >>"$work/plain.jsonl"
for name in same whole; do
    expect 0 "" "$graft" reward --name "$work/$name" --input "$work/plain.jsonl" \
        --output "$work/$name.jsonl"
done
grep -o '"reward":-\?[0-9.e-]*' "$work/same.jsonl" >"$work/same.txt"
grep -o '"reward":-\?[0-9.e-]*' "$work/whole.jsonl" | cmp - "$work/same.txt" ||
    { echo "FAIL: a whole model scores otherwise than its adapter"; failures=1; }
[ "$(sort -u "$work/same.txt" | wc -l)" = 2 ] || { echo "FAIL: scores do not differ"; failures=1; }
expect 3 "num_labels 1" "$graft" reward --name "$work/labels" --input "$work/plain.jsonl"
expect 3 "no score.weight" "$graft" reward --name "$work/base" --input "$work/plain.jsonl"

# All weights and the head: a classifier's folder, that training goes on from and that judges.
whole() { # OUTPUT key=value ...
    local out=$1
    shift
    run data "$out" model_name_or_path="$work/base" use_peft=false learning_rate=1e-3 max_steps=4 \
        save_steps=2 "$@"
}
expect 0 "" whole full
grep -q '"LlamaForSequenceClassification"' "$work/full/config.json" || { echo "FAIL: class"; failures=1; }
grep -q "^pipeline_tag: text-classification$" "$work/full/README.md" || { echo "FAIL: card"; failures=1; }
expect 0 "" "$graft" inspect "$work/full/model.safetensors"
holds "score.weight"
grep -q lm_head "$work/out" && { echo "FAIL: an lm_head was trained"; failures=1; }
cp -r "$work/full" "$work/again"
rm -r "$work/again/checkpoint-4"
expect 0 "" whole again
cmp "$work/full/model.safetensors" "$work/again/model.safetensors" ||
    { echo "FAIL: resumed, full training ends elsewhere"; failures=1; }
expect 0 "" run data kept model_name_or_path="$work/full" use_peft=false max_steps=1 learning_rate=0
cmp "$work/full/model.safetensors" "$work/kept/model.safetensors" ||
    { echo "FAIL: training does not start from the classifier"; failures=1; }
expect 0 "" "$graft" reward --name "$work/full" --input "$work/plain.jsonl" --output "$work/full.jsonl"
[ "$(grep -c '"reward":-\?[0-9]' "$work/full.jsonl")" = 2 ] || { echo "FAIL: full scores"; failures=1; }

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
