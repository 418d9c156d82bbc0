#!/usr/bin/env bash
# What decides a token beside the distribution (stop strings, a regular expression, penalties and filters),
# replaced groups, a reference with several passes over a round, and rounds drawn ahead: guesses, preemption,
# page sizes, batch limits and ranks taken together change no bit of completions, adapters and metrics.
. "$(dirname "$0")/common.sh"
common="grpo recipes/demo.yaml world_size=4 per_device_train_batch_size=16 num_generations=8 max_steps=2
    eval_on_start=false save_steps=100 logging_steps=1 max_completion_length=60
    reward_funcs=[soft_overlong_punishment] max_completion_len=60 soft_punish_cache=59"
tight="speculation=always rollout_page_size=32 rollout_pages=9"

metrics() { # folder: its log without what speaks of schedules and times, as metrics.jsonl beside it
    numbers "$1"
    sed -E 's/"(rollout\/[a-z_]+|time\/[a-z]+)":[0-9.e+-]*,?//g' "$1/numbers.jsonl" >"$1/metrics.jsonl"
}
check() { # name keys...: four schedules of one recipe
    local name=$1 folders=() schedule n=0
    shift
    for schedule in "1 speculation=never" "1 $tight rollout_rows=24" "2 $tight rollout_rows=5" \
        "4 speculation=always rollout_page_size=128 rollout_rows=3"; do
        folders+=("$scratch/$name$n")
        ranks ${schedule%% *} $common ${schedule#* } "$@" output_dir="$scratch/$name$n" >/dev/null \
            2>"$scratch/err" || { echo "$name: $schedule"; cat "$scratch/err"; exit 1; }
        metrics "$scratch/$name$n"
        n=$((n + 1))
    done
    same adapter_model.safetensors "${folders[@]}"
    same completions.jsonl "${folders[@]}"
    same metrics.jsonl "${folders[@]}"
    trains "${folders[0]}"
    grep -q '"rollout/preemptions":[1-9]' "${folders[1]}/log.jsonl" \
        || { echo "$name: nothing was preempted"; exit 1; }
    grep -q '"rollout/acceptance"' "${folders[1]}/log.jsonl" || { echo "$name: nothing was guessed"; exit 1; }
}
ratios() { # name steps: so many steps were on-policy, every ratio of them exactly 1
    local folder
    for folder in "$scratch/$1"[0-9]; do
        [ "$(grep -c '"on_policy_logp_delta_max":0.0[,}]' "$folder/log.jsonl")" = "$2" ] \
            || { echo "$folder: a ratio is not 1"; cut -c1-2000 "$folder/log.jsonl"; exit 1; }
    done
}

check stop 'stop_strings=["11","22","44","55","77","88","3 "]' 'generation_kwargs={"min_new_tokens":24}'
ratios stop 2
grep -qE '"completion":"[^"]*(11|22|44|55|77|88)",' "$scratch/stop0/completions.jsonl" || { echo "no stop string came"; exit 1; }
check filters temperature=1.3 top_k=20 top_p=0.95 min_p=0.01 repetition_penalty=1.2 \
    'generation_kwargs={"min_new_tokens":40,"presence_penalty":0.5,"frequency_penalty":0.3,"suppress_tokens":[5]}'
ratios filters 2
check regex structured_outputs_regex='([1-9][0-9]{0,2}[ +]){12,}0='
ratios regex 2
check dynamic dynamic_sampling=true dynamic_sampling_waves=2 'generation_kwargs={"min_new_tokens":30}'
ratios dynamic 2
grep -q '"dynamic_sampling/replaced":[1-9]' "$scratch/dynamic0/log.jsonl" \
    || { echo "no group was replaced"; exit 1; }
check passes beta=0.04 num_iterations=2 max_steps=3 loss_type=grpo 'generation_kwargs={"min_new_tokens":30}'
ratios passes 2
grep -q '"logp_delta_max":[0-9.e-]*[1-9]' "$scratch/passes0/log.jsonl" || { echo "the policy did not move"; exit 1; }
check ahead async_rounds=1 max_steps=3 learning_rate=1.0e-3 'generation_kwargs={"min_new_tokens":30}'
ratios ahead 3
echo "6 recipes in 4 schedules: byte-identical, every ratio 1"
