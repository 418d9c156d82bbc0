#!/bin/bash
# Optimizers through the program: each one trains, and goes on from a checkpoint to the same bits; an
# adaptive schedule follows the evaluation and survives a resume; what does not fit is refused.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1

# train OUTPUT key=value ...: four steps of full training, checkpoints at 2 and 4
train() {
    local out=$1
    shift
    "$graft" sft recipes/embedded_sft.yaml output_dir="$out" max_steps=4 save_steps=2 warmup_steps=0 \
        save_total_limit=9 per_device_train_batch_size=4 threads=2 logging_steps=1 "$@"
}

# again OUTPUT FILE ...: without its last checkpoint the run ends in the same file
again() {
    local out=$1 file=$2
    shift 2
    cp -r "$out" "$out-resumed"
    rm -r "$out-resumed/checkpoint-4" "$out-resumed/$file"
    expect 0 "resumed from" train "$out-resumed" "$@"
    cmp "$out/$file" "$out-resumed/$file" || { echo "FAIL: $* resumes to other bits"; failures=1; }
}

for optim in adamw_8bit "sgd optim_args=momentum=0.9,nesterov=true" lion_8bit ademamix_8bit \
    adafactor muon rmsprop adagrad; do
    # shellcheck disable=SC2086
    expect 0 "" train "$work/${optim%% *}" optim=$optim
    # shellcheck disable=SC2086
    again "$work/${optim%% *}" model.safetensors optim=$optim
done
cmp -s "$work/adafactor/model.safetensors" "$work/muon/model.safetensors" \
    && { echo "FAIL: optim has no effect"; failures=1; }

lora="use_peft=true lora_r=4 init_from_config=null model_name_or_path=recipes/embedded/model.gguf
    learning_rate=1e-3"
for optim in "lora_fa" "adamw_torch loraplus_lr_ratio=16"; do
    # shellcheck disable=SC2086
    expect 0 "" train "$work/${optim%% *}" $lora optim=$optim
    # shellcheck disable=SC2086
    again "$work/${optim%% *}" adapter_model.safetensors $lora optim=$optim
done

plateau="lr_scheduler_type=reduce_lr_on_plateau eval_strategy=steps eval_steps=1 data_holdout=9
    lr_scheduler_kwargs={\"patience\":0,\"factor\":0.5,\"threshold\":0.9}"
# shellcheck disable=SC2086
expect 0 "" train "$work/plateau" $plateau
rates() { # log.jsonl: the learning rates of its steps
    grep -o '"learning_rate":[^,]*' "$1" | awk -F: '{ printf "%g ", $2 }'
}
falling="0.001 0.001 0.0005 0.00025 "
[ "$(rates "$work/plateau/log.jsonl")" = "$falling" ] \
    || { echo "FAIL: rates $(rates "$work/plateau/log.jsonl")"; failures=1; }
# shellcheck disable=SC2086
again "$work/plateau" model.safetensors $plateau
[ "$(rates "$work/plateau-resumed/log.jsonl")" = "$falling" ] \
    || { echo "FAIL: the schedule's state is lost"; failures=1; }

expect 2 "optim differ" train "$work/muon" optim=sgd
expect 2 "sgd has no option 'mometum'; it has momentum" train "$work/x" optim=sgd \
    optim_args=mometum=0.9
expect 2 "cosine has no key 'min_lr'; it has num_cycles" train "$work/x" lr_scheduler_type=cosine \
    'lr_scheduler_kwargs={min_lr: 0.1}'
expect 2 "muon trains whole matrices" train "$work/x" use_peft=true optim=muon
expect 2 "lora_fa trains LoRA adapters" train "$work/x" optim=lora_fa
expect 2 "loraplus_lr_ratio trains LoRA adapters" train "$work/x" loraplus_lr_ratio=16
expect 2 "follows evaluations; set eval_strategy" train "$work/x" lr_scheduler_type=greedy
expect 2 "torchao's 8-bit state is another format; use adamw_8bit" train "$work/x" \
    optim=adamw_torch_8bit
[ -e "$work/x" ] && { echo "FAIL: a refused run left a folder"; failures=1; }
finish
