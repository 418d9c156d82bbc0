#!/usr/bin/env bash
# async_rounds: 1 on 1, 2 and 4 ranks and after SIGKILL at any place, resumed on another number of
# ranks, ends in the same bits; the log says which adapter drew a round.
. "$(dirname "$0")/common.sh"
run="grpo recipes/demo.yaml world_size=4 per_device_train_batch_size=16 num_generations=8 max_steps=6
    eval_on_start=false save_steps=2 max_completion_length=6 async_rounds=1"
plain="$run sampling_correction=false num_iterations=2 beta=0.04"

for n in 1 2 4; do
    ranks $n $run output_dir="$scratch/a$n" >/dev/null 2>&1
done
ranks 1 $plain output_dir="$scratch/p1" >/dev/null 2>&1
ranks 2 $plain output_dir="$scratch/p2" >/dev/null 2>&1
same adapter_model.safetensors "$scratch/a1" "$scratch/a2" "$scratch/a4"
same completions.jsonl "$scratch/a1" "$scratch/a2" "$scratch/a4"
same adapter_model.safetensors "$scratch/p1" "$scratch/p2"
[ ! -e "$scratch/a1/journal" ] || { echo "a finished run leaves journals"; exit 1; }
[ "$(grep -c '"rollout/staleness":1.0' "$scratch/a1/log.jsonl")" = 5 ] \
    || { echo "five rounds are one step old"; exit 1; }
grep -q '"sampling/importance_sampling_ratio/mean"' "$scratch/a1/log.jsonl"
agrees "$scratch"/a?

kill_when() { # folder ranks lines: kills when the log has that many lines
    local folder=$1 n=$2 lines=$3
    setsid mpirun -n "$n" "$GRAFT_BINARY" $run threads=1 output_dir="$folder" >/dev/null 2>&1 &
    local pid=$!
    for _ in $(seq 3000); do
        [ -e "$folder/log.jsonl" ] && [ "$(wc -l <"$folder/log.jsonl")" -ge "$lines" ] && break
        sleep 0.01
    done
    kill_session "$pid"
}

for lines in 1 2 3 4 5; do # beside checkpoints and between them
    folder="$scratch/killed$lines"
    n=$((lines % 2 + 1))
    kill_when "$folder" $n "$lines"
    ranks $((3 - n)) $run output_dir="$folder" >/dev/null 2>"$scratch/err" \
        || { cat "$scratch/err"; exit 1; }
    same adapter_model.safetensors "$scratch/a1" "$folder"
    same completions.jsonl "$scratch/a1" "$folder"
done
echo "1, 2, 4 ranks and 5 kills: byte-identical"
