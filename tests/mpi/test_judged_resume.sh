#!/usr/bin/env bash
# Killed with SIGKILL while judges work, a run goes on with its completions and the verdicts that were
# there: only judges that were interrupted work again, on another number of ranks, too.
. "$(dirname "$0")/common.sh"
cat >"$scratch/judge.sh" <<'END'
#!/bin/bash
while read -r line; do
    said=${line#*'"completion":"'}
    said=${said%%'"'*}
    echo "$said" >>"$1"
    sleep "0.0$((RANDOM % 6 + 3))"
    echo "${#said}"
done
END
chmod +x "$scratch/judge.sh"
rows=32
run="grpo recipes/demo.yaml reward_funcs=program,repetition_penalty world_size=4
    per_device_train_batch_size=8 num_generations=8 max_steps=3 save_steps=1 eval_on_start=false
    eval_strategy=no data_count=40 data_holdout=4 max_completion_length=6"

judged() { # file: completions that were given to judges
    cat "$1" 2>/dev/null | wc -l
}

kill_inside() { # folder ranks: waits until judges are inside the second round
    local folder=$1 n=$2
    setsid mpirun -n "$n" "$GRAFT_BINARY" $run threads=1 output_dir="$folder" \
        reward_program="$scratch/judge.sh,$folder.judged" >/dev/null 2>&1 &
    local pid=$!
    for _ in $(seq 3000); do
        [ "$(judged "$folder.judged")" -gt $((rows + 12)) ] && break
        sleep 0.01
    done
    kill -KILL $(pgrep -f "output_dir=$folder ") 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    [ "$(judged "$folder.judged")" -lt $((2 * rows)) ] || { echo "the round was over"; exit 1; }
}

ranks 1 $run output_dir="$scratch/whole" reward_program="$scratch/judge.sh,$scratch/whole.judged" \
    >/dev/null 2>&1
[ "$(judged "$scratch/whole.judged")" -eq $((3 * rows)) ] || { echo "judged twice"; exit 1; }
for n in 1 2; do
    folder="$scratch/killed$n"
    kill_inside "$folder" $n
    ranks $((3 - n)) $run output_dir="$folder" \
        reward_program="$scratch/judge.sh,$folder.judged" >/dev/null 2>"$scratch/err"
    again=$(($(judged "$folder.judged") - 3 * rows))
    # Two workers a rank: so many were interrupted, and one more each may have just answered.
    [ "$again" -le $((4 * n)) ] || { echo "$again completions judged again"; exit 1; }
    echo "$n ranks killed: $again of $rows completions judged again"
    same adapter_model.safetensors "$scratch/whole" "$folder"
    same completions.jsonl "$scratch/whole" "$folder"
done
