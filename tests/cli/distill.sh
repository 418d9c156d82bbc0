#!/bin/bash
# Distillation from a teacher's file: rows of messages and of text, sampled completions of student and
# teacher, prompts alone; evaluation; resume; what is refused.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
tokens=$(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)
mkdir "$work/data"
for a in 11 23 35 47 52 68; do
    echo "{\"messages\": [{\"role\": \"user\", \"content\": \"What is $a + 30?\"}, {\"role\": \"assistant\", \"content\": \"$((a + 30))\"}]}"
done >"$work/data/train.jsonl"
tail -3 "$work/data/train.jsonl" >"$work/data/test.jsonl"
for a in 11 23 35; do
    echo "{\"prompt\": \"$a + 30 = \", \"completion\": \"$((a + 30))\"}"
done >"$work/text.jsonl"
sed 's/, "completion.*}/}/' "$work/text.jsonl" >"$work/prompts.jsonl"
echo '{"text": "a"}' >"$work/bare.jsonl"
model() { # NAME SEED VOCABULARY: an untrained model in a folder
    cat >"$work/$1.json" <<JSON
{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
 "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": $3, "initializer_range": 0.3,
 "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "tie_word_embeddings": false}
JSON
    expect 0 "" "$graft" sft init_from_config="$work/$1.json" tokenizer_name_or_path="$tokens" \
        dataset_name="$work/text.jsonl" output_dir="$work/$1" max_steps=1 learning_rate=0 seed="$2" \
        compute=float32 threads=1
}
model student 1 1024
model teacher 2 1024
model other 3 1040
run() { # DATA OUTPUT key=value ...
    local data=$1 out=$2
    shift 2
    "$graft" distill model_name_or_path="$work/student" tokenizer_name_or_path="$tokens" \
        teacher_model_name_or_path="$work/teacher" dataset_name="$work/$data" \
        output_dir="$work/$out" use_peft=true lora_r=4 learning_rate=1e-2 world_size=1 threads=1 \
        per_device_train_batch_size=2 compute=float32 shards=2 max_new_tokens=8 "$@"
}
alike() { # A B WHY
    cmp "$work/$1/adapter_model.safetensors" "$work/$2/adapter_model.safetensors" ||
        { echo "FAIL: $3"; failures=1; }
}
expect 0 "" run data a max_steps=6 save_steps=4 eval_strategy=steps eval_steps=3 eval_on_start=true
holds '"method":"distill"'
for key in loss eval_loss entropy mean_token_accuracy completions/mean_length sampled; do
    grep -q "\"$key\":" "$work/a/log.jsonl" || { echo "FAIL: no $key"; failures=1; }
done
grep -q '"sampled":1' "$work/a/log.jsonl" && grep -q '"sampled":0' "$work/a/log.jsonl" ||
    { echo "FAIL: lmbda 0.5 samples some steps and not others"; failures=1; }
cp -r "$work/a" "$work/b"
rm -r "$work/b/checkpoint-6"
expect 0 "" run data b max_steps=6 save_steps=4
alike a b "resumed, the run ends elsewhere"
expect 0 "" run data c max_steps=60 lmbda=0 beta=0 learning_rate=3e-2 eval_strategy=steps eval_steps=30 \
    eval_on_start=true
losses=$(grep -o '"eval_loss":[0-9.e+-]*' "$work/c/log.jsonl" | cut -d: -f2)
echo "$losses" | awk 'NR == 1 {first = $1} {last = $1} END {exit !(last < 0.8 * first)}' ||
    { echo "FAIL: the student does not come nearer: $losses"; failures=1; }
expect 0 "" run text.jsonl d max_steps=2 lmbda=0.3 seq_kd=true beta=1
expect 0 "" run prompts.jsonl e max_steps=2 lmbda=1 temperature=1
expect 0 "" run data f max_steps=2 gradient_checkpointing=true micro_batch_tokens=8
expect 0 "" run data g max_steps=2
alike f g "micro-batches or recomputation show"
expect 2 "seq_kd: true" run prompts.jsonl h max_steps=1
expect 3 "needs" run bare.jsonl h max_steps=1
expect 2 "vocabulary" run data h teacher_model_name_or_path="$work/other"
expect 3 "nowhere" run data h teacher_model_name_or_path="$work/nowhere"
expect 2 "teacher_model_name_or_path" "$graft" distill model_name_or_path="$work/student" \
    dataset_name="$work/data" output_dir="$work/h" use_peft=true
expect 2 "beta" run data h beta=1.5
expect 2 "use_peft" run data h use_peft=false
expect 2 "temperature" run data h temperature=0
expect 2 "epsilon" run data h epsilon=0.1
finish
