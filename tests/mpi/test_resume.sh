#!/usr/bin/env bash
# Killed with SIGKILL at some step and resumed on another rank count, a run ends in the same bits;
# SIGUSR1 saves and exits 5; another recipe is refused by naming the key.
. "$(dirname "$0")/common.sh"
sft="sft recipes/embedded_sft.yaml world_size=4 per_device_train_batch_size=4 max_steps=12 save_steps=3
    logging_steps=1"
grpo="grpo recipes/demo.yaml world_size=4 per_device_train_batch_size=16 num_generations=8 max_steps=8
    num_iterations=2 eval_on_start=false save_steps=3 max_completion_length=6"

kill_after() { # checkpoint folder to wait for, then command
    local wanted=$1
    shift
    setsid "$@" >/dev/null 2>&1 &
    local pid=$!
    for _ in $(seq 600); do
        [ -e "$wanted" ] && break
        sleep 0.05
    done
    kill_session "$pid"
    [ -e "$wanted" ]
}

for kind in sft grpo; do
    run=${!kind}
    file=$([ $kind = sft ] && echo model.safetensors || echo adapter_model.safetensors)
    ranks 1 $run output_dir="$scratch/$kind-whole" >/dev/null 2>&1
    kill_after "$scratch/$kind-killed/checkpoint-3" \
        mpirun -n 2 "$GRAFT_BINARY" $run threads=1 output_dir="$scratch/$kind-killed"
    ranks 4 $run output_dir="$scratch/$kind-killed" >/dev/null 2>"$scratch/$kind.err"
    grep -q "resumed from" "$scratch/$kind.err" || { cat "$scratch/$kind.err"; exit 1; }
    same $file "$scratch/$kind-whole" "$scratch/$kind-killed"
    cut -d, -f1,2 "$scratch/$kind-whole/log.jsonl" >"$scratch/a"
    cut -d, -f1,2 "$scratch/$kind-killed/log.jsonl" | cmp - "$scratch/a"
done

status=0
ranks 1 $sft learning_rate=1 output_dir="$scratch/sft-whole" 2>"$scratch/err" || status=$?
[ $status = 2 ] && grep -q learning_rate "$scratch/err" || { cat "$scratch/err"; exit 1; }

# A signal: saved, exit 5, and the next start goes on.
"$GRAFT_BINARY" $sft threads=1 max_steps=400 save_steps=1000 output_dir="$scratch/signal" >/dev/null 2>"$scratch/err" &
pid=$!
for _ in $(seq 200); do
    [ -s "$scratch/signal/log.jsonl" ] && break
    sleep 0.05
done
kill -USR1 $pid
status=0
wait $pid || status=$?
[ $status = 5 ] || { echo "exit $status after SIGUSR1, expected 5"; cat "$scratch/err"; exit 1; }
ls -d "$scratch"/signal/checkpoint-* >/dev/null
echo "killed and resumed on other ranks: byte-identical"
