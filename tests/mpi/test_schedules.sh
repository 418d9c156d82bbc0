#!/usr/bin/env bash
# How completions are scheduled decides time alone: batch limits, page sizes, a page budget that forces
# preemption and guessed tokens end in the same completions, log-probs and adapter on 1, 2 and 4 ranks,
# and every on-policy ratio is exactly 1.
. "$(dirname "$0")/common.sh"
common="grpo recipes/demo.yaml world_size=4 per_device_train_batch_size=16 num_generations=8 max_steps=3
    eval_on_start=false save_steps=100 max_completion_length=40 generation_kwargs={\"min_new_tokens\":30}
    reward_funcs=[soft_overlong_punishment] max_completion_len=40 soft_punish_cache=39"
names=()
go() { # name ranks keys...
    local name=$1 n=$2
    shift 2
    ranks "$n" $common "$@" output_dir="$scratch/$name" >/dev/null 2>"$scratch/err" \
        || { cat "$scratch/err"; exit 1; }
    names+=("$scratch/$name")
}
go plain 1
go narrow 1 rollout_rows=3 rollout_page_size=32
go pages 1 rollout_page_size=32 rollout_pages=10
go guess 1 speculation=always
go short 1 speculation=always rollout_history=0
go never 2 speculation=never rollout_rows=5
go all 2 speculation=always rollout_page_size=32 rollout_pages=8 rollout_rows=24
go wide 4 rollout_page_size=128 rollout_rows=200
same adapter_model.safetensors "${names[@]}"
same completions.jsonl "${names[@]}"
trains "$scratch/plain"
for log in "$scratch"/*/log.jsonl; do
    agrees "${log%/log.jsonl}"
done
grep -q '"rollout/preemptions":[1-9]' "$scratch/pages/log.jsonl" || { echo "nothing was preempted"; exit 1; }
grep -q '"rollout/acceptance"' "$scratch/guess/log.jsonl" || { echo "nothing was guessed"; exit 1; }
# Every prompt comes again in the second and third epoch: what was said before is guessed from.
common="$common data_count=12 data_holdout=4 per_device_train_batch_size=16 num_generations=8 max_steps=6
    learning_rate=1e-5"
go known 1 speculation=always
go known2 2 speculation=always rollout_history=1000 rollout_rows=9
go unknown 2 speculation=always rollout_history=0
same adapter_model.safetensors "$scratch/known" "$scratch/known2" "$scratch/unknown"
same completions.jsonl "$scratch/known" "$scratch/known2" "$scratch/unknown"
trains "$scratch/known"
echo "${#names[@]} schedules: byte-identical, every ratio 1"
