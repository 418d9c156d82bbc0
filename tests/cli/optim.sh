#!/bin/bash
# Optimizers through the program: a run goes on from a checkpoint to the same bits; an adaptive schedule
# follows the evaluation and survives a resume; what does not fit is refused.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
. tests/cli/lib/optim.sh

expect 0 "" train "$work/muon" optim=muon
again "$work/muon" model.safetensors optim=muon

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
