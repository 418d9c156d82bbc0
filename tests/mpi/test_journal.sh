#!/usr/bin/env bash
# Killed with SIGKILL inside a round, a run goes on with the completions that were finished: they are
# read, not drawn again, on another number of ranks, too, and the end has the same bits.
. "$(dirname "$0")/common.sh"
run="grpo recipes/demo.yaml world_size=4 per_device_train_batch_size=64 num_generations=8 max_steps=3
    eval_on_start=false save_steps=1 max_completion_length=6 rollout_rows=2"
rows=256

kill_inside() { # folder ranks: waits until a later round's journals hold some completions
    local folder=$1 n=$2
    setsid mpirun -n "$n" "$GRAFT_BINARY" $run threads=1 output_dir="$folder" >/dev/null 2>&1 &
    local pid=$!
    for _ in $(seq 2000); do
        local bytes=0
        for file in "$folder"/journal/round-1-rank-*.bin; do
            [ -e "$file" ] && bytes=$((bytes + $(stat -c %s "$file" 2>/dev/null || echo 0)))
        done
        [ "$bytes" -gt 4000 ] && break
        sleep 0.01
    done
    kill_session "$pid"
    [ "$bytes" -gt 4000 ] || { echo "no journal of round 1 was seen"; exit 1; }
}

ranks 1 $run output_dir="$scratch/whole" >/dev/null 2>&1
[ ! -e "$scratch/whole/journal" ] || { echo "a finished run leaves journals"; exit 1; }
for n in 1 2; do
    folder="$scratch/killed$n"
    kill_inside "$folder" $n
    ranks $((3 - n)) $run output_dir="$folder" >/dev/null 2>"$scratch/err"
    replayed=$(sed -n 's/.*"rollout\/replayed": *\([0-9]*\).*/\1/p' "$folder/log.jsonl" | head -1)
    [ "${replayed:-0}" -gt 0 ] && [ "$replayed" -le $rows ] \
        || { echo "replayed: '$replayed'"; cat "$scratch/err"; exit 1; }
    echo "$n ranks killed: $replayed of $rows completions came from the journal"
    same adapter_model.safetensors "$scratch/whole" "$folder"
    same completions.jsonl "$scratch/whole" "$folder"
done
