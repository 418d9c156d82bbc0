#!/bin/bash
# Every optimizer trains through the program and resumes to the same bits.
. "$(dirname "$0")/lib/common.sh"
cd "$source" || exit 1
. tests/cli/lib/optim.sh

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

finish
