#!/bin/bash
# DPO over preference rows: messages, text and an implicit prompt; resume; precomputed references;
# a list of losses; what is refused. RLOO and a moving reference through the program.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
for a in 11 23 35 47; do
    echo "{\"prompt\": [{\"role\": \"user\", \"content\": \"What is $a + 30?\"}], \"chosen\": [{\"role\": \"assistant\", \"content\": \"$((a + 30))\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"$a\"}]}"
done >"$work/messages.jsonl"
for a in 11 23 35 47; do
    echo "{\"chosen\": \"$a + 30 = $((a + 30))\", \"rejected\": \"$a + 30 = $a\"}"
done >"$work/implicit.jsonl"
echo '{"prompt": "a", "chosen": "b"}' >"$work/half.jsonl"
cat >"$work/dpo.yaml" <<'YAML'
model_name_or_path: recipes/embedded.gguf
use_peft: true
lora_r: 4
learning_rate: 1e-3
per_device_train_batch_size: 2
world_size: 1
compute: float32
threads: 1
shards: 4
YAML
sed -i "s|recipes/embedded.gguf|$(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)|" "$work/dpo.yaml"
run() { # DATA OUTPUT key=value ...
    local data=$1 out=$2
    shift 2
    "$graft" dpo "$work/dpo.yaml" dataset_name="$work/$data.jsonl" output_dir="$work/$out" "$@"
}
expect 0 "" run messages a max_steps=4
holds '"method":"dpo"'
for key in rewards/chosen rewards/rejected rewards/accuracies rewards/margins logps/chosen \
    logps/rejected logits/chosen logits/rejected entropy mean_token_accuracy num_tokens; do
    grep -q "\"$key\":" "$work/a/log.jsonl" || { echo "FAIL: no $key"; failures=1; }
done
expect 0 "" run messages b max_steps=4 precompute_ref_log_probs=true
cmp "$work/a/adapter_model.safetensors" "$work/b/adapter_model.safetensors" ||
    { echo "FAIL: a precomputed reference changes the run"; failures=1; }
expect 0 "already finished" run messages a max_steps=4
rm -r "$work/a/checkpoint-4"
expect 0 "" run messages a max_steps=4
cmp "$work/a/adapter_model.safetensors" "$work/b/adapter_model.safetensors" ||
    { echo "FAIL: started again, the run ends elsewhere"; failures=1; }
# Text under another name of the prompt's column is a conversation, as messages are.
sed -E 's/"prompt": \[\{"role": "user", "content": ("[^"]*")\}\]/"question": \1/; s/\[\{"role": "assistant", "content": ("[^"]*")\}\]/\1/g' \
    "$work/messages.jsonl" >"$work/renamed.jsonl"
expect 0 "" run renamed n max_steps=4 dataset_prompt_column=question
cmp "$work/n/adapter_model.safetensors" "$work/b/adapter_model.safetensors" ||
    { echo "FAIL: a renamed prompt column changes the run"; failures=1; }
# Evaluation while training changes nothing in it.
mkdir "$work/split"
cp "$work/messages.jsonl" "$work/split/train.jsonl"
tail -3 "$work/messages.jsonl" >"$work/split/test.jsonl"
expect 0 "" "$graft" dpo "$work/dpo.yaml" dataset_name="$work/split" output_dir="$work/v" \
    max_steps=4 eval_strategy=steps eval_steps=2 eval_on_start=true per_device_eval_batch_size=2
cmp "$work/v/adapter_model.safetensors" "$work/b/adapter_model.safetensors" ||
    { echo "FAIL: evaluation changes the run"; failures=1; }
for key in eval_loss eval_rewards/chosen eval_rewards/accuracies eval_rewards/margins \
    eval_logps/chosen eval_logits/rejected eval_entropy eval_mean_token_accuracy; do
    [ "$(grep -c "\"$key\":" "$work/v/log.jsonl")" = 3 ] || { echo "FAIL: no $key"; failures=1; }
done
expect 0 "" "$graft" dpo "$work/dpo.yaml" dataset_name="$work/split" output_dir="$work/w" \
    num_train_epochs=2 eval_strategy=epoch
expect 2 "sync_ref_model" run messages g sync_ref_model=true
expect 2 "precompute_ref_log_probs" run messages g sync_ref_model=true use_peft=false \
    precompute_ref_log_probs=true
expect 0 "" run implicit c max_steps=2 loss_type=sigmoid,sft,aot loss_weights=1,0.1,0.5
expect 0 "" run implicit d max_steps=2 use_weighting=true ld_alpha=0.5
expect 3 "rejected" run half e max_steps=1
expect 2 "label_smoothing" run messages f loss_type=exo_pair
expect 2 "num_generations" run messages g num_generations=4
expect 0 "" "$graft" validate "$work/dpo.yaml" dataset_name=x output_dir=y --method dpo
rl() { # COMMAND OUTPUT key=value ...
    local command=$1 out=$2
    shift 2
    "$graft" "$command" recipes/demo.yaml output_dir="$work/$out" eval_on_start=false \
        eval_strategy=no per_device_train_batch_size=8 num_generations=4 threads=1 \
        data_count=40 data_holdout=4 "$@"
}
expect 0 "" rl rloo r max_steps=2 loss_type=rloo beta=0.05 reward_clip_range=-1,1
holds '"method":"rloo"'
expect 2 "sync_ref_model" rl grpo s max_steps=2 sync_ref_model=true beta=0.1
expect 2 "delta" rl grpo s max_steps=2 loss_type=cispo delta=2
for loss in cispo sapo vespo luspo; do
    expect 0 "" rl grpo "$loss" max_steps=2 loss_type="$loss" num_iterations=2
done
expect 0 "" rl grpo entropy max_steps=3 num_iterations=2 top_entropy_quantile=0.4 \
    use_adaptive_entropy=true entropy_target=3 entropy_coef=0.01 beta=0.02
grep -q '"entropy_coef":' "$work/entropy/log.jsonl" || { echo "FAIL: no entropy_coef"; failures=1; }
finish
