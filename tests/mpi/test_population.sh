#!/usr/bin/env bash
# Members of a population end in the bits of their own runs, on 1 and 2 ranks, after SIGKILL resumed on
# another number of ranks, and after a signal that saves; a member that fails is named.
. "$(dirname "$0")/common.sh"
run="grpo recipes/demo.yaml world_size=4 per_device_train_batch_size=16 num_generations=8 max_steps=4
    save_steps=2 max_completion_length=6 eval_samples=16"
members='[{seed: 1}, {learning_rate: 2.0e-4, beta: 0.04}, {seed: 3, lora_r: 4, loss_type: grpo}]'

all() { # n folder keys...
    local n=$1 folder=$2
    shift 2
    ranks "$n" $run population="$members" output_dir="$folder" "$@"
}
check() { # folder: every member against its own run
    for i in 0 1 2; do
        same adapter_model.safetensors "$scratch/single$i" "$1/member-$i"
        same completions.jsonl "$scratch/single$i" "$1/member-$i"
        same checkpoint-4/adapter_model.safetensors "$scratch/single$i" "$1/member-$i"
    done
}

ranks 1 $run seed=1 output_dir="$scratch/single0" >/dev/null 2>&1
ranks 1 $run learning_rate=2.0e-4 beta=0.04 output_dir="$scratch/single1" >/dev/null 2>&1
ranks 1 $run seed=3 lora_r=4 loss_type=grpo output_dir="$scratch/single2" >/dev/null 2>&1
for n in 1 2; do
    all $n "$scratch/all$n" >"$scratch/out" 2>"$scratch/err" || { cat "$scratch/err"; exit 1; }
    check "$scratch/all$n"
done
grep -q '"members":\[{.*"after":.*"keys":{"seed":1}' "$scratch/out"
grep -q 'member 2: step 4/4' "$scratch/err"
cut -d, -f1-8 "$scratch/single1/log.jsonl" | sed 's/,"step_time.*//' >"$scratch/a"
cut -d, -f1-8 "$scratch/all1/member-1/log.jsonl" | sed 's/,"step_time.*//' | cmp - "$scratch/a"

for lines in 1 3; do # killed when member 1 has so many log lines
    folder="$scratch/killed$lines"
    setsid mpirun -n 2 "$GRAFT_BINARY" $run threads=1 population="$members" \
        output_dir="$folder" >/dev/null 2>&1 &
    pid=$!
    for _ in $(seq 3000); do
        log="$folder/member-1/log.jsonl"
        [ -e "$log" ] && [ "$(wc -l <"$log")" -ge "$lines" ] && break
        sleep 0.01
    done
    kill_session "$pid"
    all 1 "$folder" >/dev/null 2>"$scratch/err" || { cat "$scratch/err"; exit 1; }
    check "$folder"
done

"$GRAFT_BINARY" $run threads=1 population="$members" output_dir="$scratch/signal" >/dev/null \
    2>"$scratch/err" &
pid=$!
for _ in $(seq 3000); do
    [ -s "$scratch/signal/member-1/log.jsonl" ] && break
    sleep 0.01
done
kill -USR1 $pid
status=0
wait $pid || status=$?
[ $status = 5 ] || { echo "exit $status after SIGUSR1, expected 5"; cat "$scratch/err"; exit 1; }
grep -q "saved the 3 members" "$scratch/err"
for i in 0 1 2; do
    ls -d "$scratch/signal/member-$i"/checkpoint-* >/dev/null
done
all 2 "$scratch/signal" >/dev/null 2>"$scratch/err" || { cat "$scratch/err"; exit 1; }
check "$scratch/signal"

# Another recipe of a member is refused by member and key; a failure names the member.
status=0
ranks 1 $run population='[{seed: 1}, {seed: 9}]' output_dir="$scratch/all1" >/dev/null \
    2>"$scratch/err" || status=$?
[ $status = 2 ] && grep -q 'member 1: .*seed' "$scratch/err" || { cat "$scratch/err"; exit 1; }
mkdir -p "$scratch/blocked"
touch "$scratch/blocked/member-1" # where a folder should be
status=0
ranks 1 $run population='[{}, {seed: 2}]' output_dir="$scratch/blocked" >/dev/null 2>"$scratch/err" \
    || status=$?
[ $status = 1 ] && grep -q 'member 1: .*blocked/member-1' "$scratch/err" \
    || { echo "exit $status"; cat "$scratch/err"; exit 1; }
echo "3 members on 1 and 2 ranks, 2 kills and a signal: the bits of their own runs"
