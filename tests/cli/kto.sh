#!/bin/bash
# KTO over labelled rows and over preference rows taken apart; evaluation while training; resume; a
# reference scored once or moving; what is refused; methods found by the recipe.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
for a in 11 23 35 47 52 68; do
    echo "{\"prompt\": [{\"role\": \"user\", \"content\": \"What is $a + 30?\"}], \"completion\": [{\"role\": \"assistant\", \"content\": \"$((a + 30 * (a % 2)))\"}], \"label\": $([ $((a % 2)) = 1 ] && echo true || echo false)}"
done >"$work/labelled.jsonl"
for a in 11 23 35 47; do
    echo "{\"prompt\": \"$a + 30 = \", \"chosen\": \"$((a + 30))\", \"rejected\": \"$a\"}"
done >"$work/paired.jsonl"
mkdir "$work/split"
cp "$work/labelled.jsonl" "$work/split/train.jsonl"
tail -3 "$work/labelled.jsonl" >"$work/split/test.jsonl"
echo '{"prompt": "a", "completion": "b"}' >"$work/unlabelled.jsonl"
echo '{"prompt": "a", "completion": "b", "label": "good"}' >"$work/mislabelled.jsonl"
echo '{"prompt": "a", "chosen": "b", "rejected": ["c"]}' >"$work/mixed.jsonl"
cat >"$work/kto.yaml" <<YAML
model_name_or_path: $(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)
use_peft: true
lora_r: 4
learning_rate: 1e-3
per_device_train_batch_size: 2
world_size: 1
compute: float32
threads: 1
shards: 4
YAML
run() { # DATA OUTPUT key=value ...
    local data=$1 out=$2
    shift 2
    "$graft" kto "$work/kto.yaml" dataset_name="$work/$data" output_dir="$work/$out" "$@"
}
alike() { # A B WHY
    cmp "$work/$1/adapter_model.safetensors" "$work/$2/adapter_model.safetensors" ||
        { echo "FAIL: $3"; failures=1; }
}
expect 0 "would balance them" run labelled.jsonl a max_steps=4 save_steps=2
holds '"method":"kto"'
for key in kl rewards/chosen rewards/rejected logps/chosen logps/rejected logits/chosen \
    logits/rejected entropy num_tokens; do
    grep -q "\"$key\":" "$work/a/log.jsonl" || { echo "FAIL: no $key"; failures=1; }
done
expect 0 "" run labelled.jsonl b max_steps=4 precompute_ref_log_probs=true
alike a b "a precomputed reference changes the run"
rm -r "$work/a/checkpoint-4"
expect 0 "" run labelled.jsonl a max_steps=4 save_steps=2
alike a b "resumed, the run ends elsewhere"
expect 0 "" run paired.jsonl c max_steps=2 desirable_weight=1.3 undesirable_weight=0.7
expect 0 "" run paired.jsonl d max_steps=2 loss_type=apo_zero_unpaired \
    train_sampling_strategy=random per_device_train_batch_size=1
expect 0 "" run split e max_steps=2 eval_strategy=steps eval_steps=1
for key in eval_loss eval_kl eval_rewards/chosen eval_logps/rejected; do
    grep -q "\"$key\":" "$work/e/log.jsonl" || { echo "FAIL: no $key"; failures=1; }
done
grep -q '"num_tokens":0' "$work/e/log.jsonl" && { echo "FAIL: no tokens"; failures=1; }
expect 3 "label" run unlabelled.jsonl f max_steps=1
expect 3 "true" run mislabelled.jsonl f max_steps=1
expect 3 "both" run mixed.jsonl f max_steps=1
expect 2 "max_length" run labelled.jsonl f max_steps=1 max_length=3
expect 2 "sequential" run labelled.jsonl f train_sampling_strategy=random
expect 2 "per_device_train_batch_size" run labelled.jsonl f per_device_train_batch_size=1
expect 2 "loss_type" run labelled.jsonl f loss_type=sigmoid
expect 2 "sync_ref_model" run labelled.jsonl f sync_ref_model=true

# Full training: the reference is a copy that moves; interrupted, the run ends in the same bits.
full() { # OUTPUT key=value ...
    local out=$1
    shift
    "$graft" kto init_from_config="$work/config.json" tokenizer_name_or_path="$model" \
        dataset_name="$work/paired.jsonl" output_dir="$work/$out" max_steps=4 save_steps=3 \
        sync_ref_model=true ref_model_sync_steps=2 world_size=1 threads=1 compute=float32 \
        per_device_train_batch_size=2 learning_rate=1e-3 shards=2 "$@"
}
model=$(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)
cat >"$work/config.json" <<'JSON'
{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
 "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 1024,
 "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "tie_word_embeddings": false}
JSON
expect 0 "" full x
[ -f "$work/x/checkpoint-3/reference.bin" ] || { echo "FAIL: no reference.bin"; failures=1; }
cp -r "$work/x" "$work/y"
rm -r "$work/y/checkpoint-4"
expect 0 "" full y
cmp "$work/x/model.safetensors" "$work/y/model.safetensors" ||
    { echo "FAIL: a resumed reference moves elsewhere"; failures=1; }
expect 0 "" full z sync_ref_model=false ref_model_sync_steps=512
cmp -s "$work/x/model.safetensors" "$work/z/model.safetensors" &&
    { echo "FAIL: the reference does not move"; failures=1; }
printf 'short' >"$work/y/checkpoint-3/reference.bin"
rm -r "$work/y/checkpoint-4"
expect 0 "reference.bin does not match" full y

# validate finds the method by keys, then by values.
names() { # WORD key=value ...
    local word=$1
    shift
    expect 0 "" "$graft" validate "$work/kto.yaml" dataset_name=x output_dir=y "$@"
    holds "a good $word recipe"
}
names kto desirable_weight=1.2
names kto loss_type=apo_zero_unpaired beta=0.2
names dpo loss_type=ipo
names dpo label_smoothing=0.1
names grpo loss_type=dapo per_device_train_batch_size=8
names rloo normalize_advantages=true
names sft loss_type=dft
expect 2 "kto" "$graft" validate "$work/kto.yaml" --method ppo
finish
