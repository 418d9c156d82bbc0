#!/usr/bin/env bash
# lora_dropout: masks depend on the step and the row alone, so a run ends in the same bits on 1, 2 and 4
# ranks, for any share of memory, and resumed on other ranks; it is another run than one without, and
# than one of another seed; dpo, kto, reward-model and distill train without it unless they are told to.
. "$(dirname "$0")/common.sh"
model=$(sed -n 's/^model_name_or_path: *//p' recipes/demo.yaml)
base="model_name_or_path=$model use_peft=true lora_r=4 learning_rate=1e-3 world_size=4 compute=float32
    logging_steps=1"
for a in 11 23 35 47 52 68 70 84; do
    echo "{\"prompt\": \"$a+30=\", \"chosen\": \"$((a + 30))\", \"rejected\": \"$a\"}"
done >"$scratch/pairs.jsonl"
for a in 11 23 35 47 52 68 70 84; do
    echo "{\"prompt\": \"$a+30=\", \"completion\": \"$((a + 30))\"}"
done >"$scratch/rows.jsonl"

tiny_models "$model"

differ() { # file folder folder
    cmp -s "$2/$1" "$3/$1" && { echo "$2 and $3 are the same run"; exit 1; }
    return 0
}

grpo() { # RANKS OUTPUT key=value ...
    local n=$1 out=$2
    shift 2
    ranks "$n" grpo recipes/demo.yaml $base per_device_train_batch_size=4 num_generations=4 \
        data_count=40 data_holdout=4 eval_strategy=no eval_on_start=false max_completion_length=6 \
        max_steps=3 save_steps=2 lora_dropout=0.2 output_dir="$scratch/$out" "$@" >/dev/null
}
for n in 1 2 4; do
    grpo $n "grpo$n"
done
same adapter_model.safetensors "$scratch/grpo1" "$scratch/grpo2" "$scratch/grpo4"
same completions.jsonl "$scratch/grpo1" "$scratch/grpo2" "$scratch/grpo4"
rm -r "$scratch/grpo4/checkpoint-3"
grpo 2 grpo4
same adapter_model.safetensors "$scratch/grpo1" "$scratch/grpo4"
grpo 1 budget micro_batch_tokens=16
same adapter_model.safetensors "$scratch/grpo1" "$scratch/budget"
grpo 1 plain disable_dropout=true
grpo 1 none lora_dropout=0
same adapter_model.safetensors "$scratch/plain" "$scratch/none"
differ adapter_model.safetensors "$scratch/grpo1" "$scratch/none"
# Trained in one step, a round's ratio is 1 whatever was dropped; in two it is not.
grep -q '"clip_ratio/region_mean":0[.0]*[,}]' "$scratch/grpo1/log.jsonl" || { echo "clipped"; exit 1; }
grep -q 'on_policy_logp_delta_max' "$scratch/grpo1/log.jsonl" && { echo "a delta of masks"; exit 1; }
grpo 1 twice num_iterations=2 epsilon=0.0001
grep -q '"clip_ratio/region_mean":0\.[0-9]*[1-9]' "$scratch/twice/log.jsonl" ||
    { echo "nothing was clipped"; exit 1; }
grpo 2 twice2 num_iterations=2 epsilon=0.0001
same adapter_model.safetensors "$scratch/twice" "$scratch/twice2"

pairs() { # METHOD RANKS OUTPUT key=value ...
    local method=$1 n=$2 out=$3
    shift 3
    ranks "$n" "$method" $base dataset_name="$scratch/pairs.jsonl" per_device_train_batch_size=2 \
        max_steps=2 save_steps=100 output_dir="$scratch/$out" "$@" >/dev/null 2>&1
}
for method in dpo kto reward-model distill; do
    more=
    [ $method = distill ] && more="model_name_or_path=$scratch/model1 tokenizer_name_or_path=$model lmbda=0
        teacher_model_name_or_path=$scratch/model2 dataset_name=$scratch/rows.jsonl"
    for n in 1 2; do
        pairs $method $n "$method$n" lora_dropout=0.3 disable_dropout=false $more
    done
    pairs $method 1 "$method-usual" lora_dropout=0.3 $more
    pairs $method 1 "$method-none" lora_dropout=0 $more
    pairs $method 1 "$method-tokens" lora_dropout=0.3 disable_dropout=false micro_batch_tokens=8 $more
    same adapter_model.safetensors "$scratch/${method}1" "$scratch/${method}2" \
        "$scratch/$method-tokens"
    same adapter_model.safetensors "$scratch/$method-usual" "$scratch/$method-none"
    differ adapter_model.safetensors "$scratch/${method}1" "$scratch/$method-none"
done
echo "dropout in grpo, dpo, kto, reward-model, distill: byte-identical on other ranks"
